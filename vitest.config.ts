import { defineConfig } from 'vitest/config';

/** Two projects: `unit` needs no server and takes seconds, `server` runs against a real Dovecot. */
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: ['test/**/*.test.ts'],
          exclude: ['test/dovecot/**'],
          testTimeout: 20_000,
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
    ],
  },
});
