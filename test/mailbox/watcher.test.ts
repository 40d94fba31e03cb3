/** The mailbox's loop against a scripted server: what arrives is published once, whatever the connection does. */
import { expect, test } from 'vitest';
import { createHarness, mail } from './harness.ts';

test('publishes what is there and what arrives', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  server.deliver('INBOX', mail('two'));
  await harness.watch();
  await harness.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2]);
  expect(harness.report()).toMatchObject({ expected: 2, stored: 2, missing: 0, healthy: true, reason: null });

  await server.idle();
  server.deliver('INBOX', mail('three'));
  await harness.until(({ stored }) => stored === 3);
  expect(intake.published.map(({ source }) => /Subject: (.*)\r/.exec(source)?.[1])).toEqual([
    'one',
    'two',
    'three',
  ]);
  await harness.stop();
});
