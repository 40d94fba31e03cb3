import { defineConfig } from 'vitest/config';

/**
 * `unit` takes seconds; `integration` runs the whole on an embedded server; `dovecot` on a real one;
 * `container` in the built image, which scripts/test makes.
 */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/integration/**', 'test/dovecot/**', 'test/container/**'],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: 'integration',
          include: ['test/integration/**/*.test.ts'],
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: 'dovecot',
          include: ['test/dovecot/**/*.test.ts'],
          testTimeout: 300_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: 'container',
          include: ['test/container/**/*.test.ts'],
          testTimeout: 600_000,
          hookTimeout: 120_000,
          // They mostly wait, for cycles of Monit.
          maxWorkers: 5,
        },
      },
    ],
  },
});
