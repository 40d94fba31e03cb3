/** What becomes of mail when the daemon, Monit or the container dies, hangs, stops or starts. */
import { expect, test } from 'vitest';
import { startDovecot } from '../servers/dovecot.ts';
import { containerAccount, startContainer } from './harness.ts';
import { startMailFlow } from './mail-flow.ts';

const INBOX = [{ account: 'support', user: 'ann', folder: 'INBOX' }];

test('kill -9 of the daemon', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  using mail = startMailFlow(server, container, INBOX);
  await container.watching();
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  const outage = await mail.outage('kill -9 of the daemon', () => container.signalDaemon('KILL'));
  await container.pageSays('mailwatchd', { status: /does not exist|not running/i });
  await outage.over();
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
  expect(await container.logs()).toContain('process is not running');
});
