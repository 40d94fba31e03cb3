/** A folder watched by its special use stays one mailbox, whatever its server calls it. */
import { expect, test } from 'vitest';
import { createHarness, mail } from './harness.ts';

const ALL = { mailbox: { account: 'support', folder: '\\All' } };

test('another language renames it: nothing comes twice, and what is new comes', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  const folder = server.createFolder('[Gmail]/All Mail', { attributes: ['\\All'] });
  server.deliver('[Gmail]/All Mail', mail('one'));
  await harness.watch(ALL);
  await server.idle();

  server.folders.delete('[Gmail]/All Mail');
  server.folders.set('[Gmail]/Alle Nachrichten', folder);
  folder.name = '[Gmail]/Alle Nachrichten';
  // What the owner of a watched folder has renamed, others may have taken the name of.
  server.createFolder('[Gmail]/All Mail');
  server.deliver('[Gmail]/All Mail', mail('not meant'));
  server.deliver('[Gmail]/Alle Nachrichten', mail('two'));
  for (const session of server.sessions) session.destroy();
  await harness.retry(1);
  await server.idle();

  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2]);
  expect(ledger.epochs.map(({ folder: name }) => name)).toEqual(['\\All']);
});

test('the mark goes to another folder: it is another numbering, compared with what is known', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  server.createFolder('Sent', { attributes: ['\\Sent'], uidValidity: 7 });
  server.deliver('Sent', mail('one'));
  await harness.watch({ mailbox: { account: 'support', folder: '\\Sent' } });
  await server.idle();

  server.folders.get('Sent')!.attributes = [];
  server.createFolder('Sent Items', { attributes: ['\\Sent'], uidValidity: 8 });
  server.deliver('Sent Items', mail('one'));
  server.deliver('Sent Items', mail('two'));
  for (const session of server.sessions) session.destroy();
  await harness.retry(1);
  await server.idle();

  expect(intake.published).toHaveLength(2);
  expect(ledger.epochs.map(({ label }) => label)).toEqual(['7', '8']);
});

test('a move into the watched folder itself is a fault, and no message comes again', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  ledger.owesAfterActions = true;
  server.createFolder('Archiv', { attributes: ['\\Archive'] });
  server.deliver('Archiv', mail('one'));
  await harness.watch({
    mailbox: { account: 'support', folder: 'Archiv' },
    account: { after: { seen: false, move: '\\Archive', delete: false } },
  });
  const { reason } = await harness.until(({ state, healthy }) => state === 'idle' && !healthy);
  expect(reason).toMatch(/^AFTER_FAILED: .*the watched folder itself/);
  expect(intake.published).toHaveLength(1);
  expect(server.commands.filter((command) => command.startsWith('UID MOVE'))).toEqual([]);
});
