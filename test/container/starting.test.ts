/** Starts that fail, come twice or follow one another too fast, and configurations that change. */
import { expect, test } from 'vitest';
import { startDovecot } from '../servers/dovecot.ts';
import { containerAccount, createContainer, DAEMON, SPACED, startContainer } from './harness.ts';
import { startMailFlow } from './mail-flow.ts';

const INBOX = { account: 'support', user: 'ann', folder: 'INBOX' };
const LEADS = { account: 'sales', user: 'bob', folder: 'Leads' };

const WRAPPER = '/etc/init.d/mailwatchd';
const FAULTS = [/accounts\[0\]\.port/, /storage\.pth.*unknown/i, /limits\.parseSeconds/];
const NOT_CONFIGURED = 6;

/** Ticks of the clock that both ends of a time may be cut by, s. */
const COARSE = 1;

function faulty(accounts: object[]): object {
  return {
    accounts: accounts.map((account) => ({ ...account, port: 'imap' })),
    storage: { pth: 'x' },
    limits: { parseSeconds: -1 },
  };
}

/** Seconds from one log line of the pattern to the next. */
function gapsBetween(logs: string, pattern: RegExp): number[] {
  const times = logs
    .split('\n')
    .filter((line) => pattern.test(line))
    .map((line) => Date.parse(line.split(' ')[0]!));
  return times.slice(1).map((time, index) => (time - times[index]!) / 1000);
}

test('a faulty configuration: every fault is told, attempts are spaced, and once mended it starts by itself', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  const accounts = [containerAccount(server, 'support', 'ann')];
  await using container = createContainer({ accounts, secrets: { ann: 'a' } });
  container.configure(faulty(accounts));
  using mail = startMailFlow(server, container, [INBOX]);
  await container.run();

  const waiting = await mail.deliver();
  await container.pageSays(
    'heartbeat',
    { status: /failed/, output: /failed starts: 2,.*CONFIG_INVALID/ },
    SPACED,
  );
  const logs = await container.logs({ timestamps: true });
  for (const fault of FAULTS) expect(logs).toMatch(fault);
  for (const gap of gapsBetween(logs, /^\S+ mailwatchd: CONFIG_INVALID/))
    expect(gap).toBeGreaterThan(5 - COARSE);
  expect(logs.split('\n').length).toBeLessThan(30);

  const byHand = await container.exec(WRAPPER, 'start');
  expect(byHand.status).toBe(NOT_CONFIGURED);
  for (const fault of FAULTS) expect(byHand.stderr).toMatch(fault);

  const mended = performance.now();
  container.configure({});
  const { seenAt } = await mail.published(waiting);
  console.log(
    `scenario: a faulty configuration is mended: mail flowed after ${((seenAt - mended) / 1000).toFixed(1)} s`,
  );
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('what a start says is shown as it stands there, also what looks like an escape', async () => {
  const directory = String.raw`/proc/first\nsecond\cthird`;
  await using container = await startContainer({
    accounts: [containerAccount({ host: '127.0.0.1', imapPort: 1 }, 'support', 'ann')],
    secrets: { ann: 'a' },
    settings: { log: { directory } },
  });
  const fault = `STORAGE_MISSING: ${directory} does not exist and cannot be made`;
  await container.until('the fault in the log', async () => (await container.logs()).includes(fault));
  const { status, stdout } = await container.exec(WRAPPER, 'status');
  expect({ status, stdout }).toEqual({ status: 1, stdout: expect.stringContaining(fault) });
});

test('four starts at once: one daemon', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  using mail = startMailFlow(server, container, [INBOX]);
  await container.watching();

  const outage = await mail.outage('stop, then four starts at once', async () => {
    expect(await container.exec(WRAPPER, 'stop')).toMatchObject({ status: 0 });
    const starts = await Promise.all([1, 2, 3, 4].map(() => container.exec(WRAPPER, 'start')));
    expect(starts.map(({ status, stderr }) => ({ status, stderr }))).toEqual(
      Array(4).fill({ status: 0, stderr: '' }),
    );
    const started = starts.filter(({ stdout }) => stdout.includes('started, as process'));
    // Monit may have been the first.
    expect(started.length).toBeLessThanOrEqual(1);
  });

  await outage.over();
  expect(await container.processes(DAEMON)).toHaveLength(1);
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  expect(await container.logs()).not.toContain('ALREADY_RUNNING');
  await mail.expectEachOnce();
});

test('reload: a new mailbox comes onto the page; a faulty configuration is refused, and the old one stays', async () => {
  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  await server.createFolder('bob', 'Leads');
  const support = containerAccount(server, 'support', 'ann');
  const sales = containerAccount(server, 'sales', 'bob', { folders: ['Leads'] });
  await using container = await startContainer({ accounts: [support], secrets: { ann: 'a', bob: 'b' } });
  using mail = startMailFlow(server, container, [INBOX, LEADS]);
  await container.watching();
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
  const daemon = await container.daemon();

  await mail.deliver(LEADS);
  container.configure({ accounts: [support, sales] });
  expect(await container.exec(WRAPPER, 'reload')).toMatchObject({ status: 0 });
  await container.pageSays('sales Leads', { status: /^OK$/, output: /^watched$/ });
  await mail.flows(LEADS);
  await mail.flows(INBOX);

  container.configure(faulty([support]));
  const refused = await container.exec(WRAPPER, 'reload');
  expect(refused.status).toBe(NOT_CONFIGURED);
  for (const fault of FAULTS) expect(refused.stderr).toMatch(fault);
  await mail.flows(LEADS);
  await mail.flows(INBOX);
  await container.pageSays('sales Leads', { status: /^OK$/, output: /^watched$/ });

  container.configure({ accounts: [support] });
  expect(await container.exec(WRAPPER, 'reload')).toMatchObject({ status: 0 });
  await container.until('the mailbox to leave the page', async () => {
    const rows = await container.page.rows().catch(() => []);
    return (
      rows.some(({ name }) => name === 'support INBOX') && rows.every(({ name }) => name !== 'sales Leads')
    );
  });
  await mail.flows(INBOX);
  expect(await container.daemon()).toBe(daemon);
  await mail.expectEachOnce();
});

test('a daemon that dies whenever it is ready: its starts are spaced, and the page says so', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  using mail = startMailFlow(server, container, [INBOX]);
  await container.watching();

  for (let death = 1; death <= 4; death++) {
    const former = await container.daemon();
    await container.signalDaemon('KILL');
    if (death === 4) break;
    await container.until('the next daemon', async () => {
      const next = await container.daemon();
      return next !== null && next !== former;
    });
    await mail.flows();
  }
  const outage = await mail.outage('the fourth death in a row', async () => undefined);
  await container.pageSays(
    'heartbeat',
    {
      status: /failed/,
      output: /failed starts: 4, .*within \d+ s of its start/,
    },
    SPACED,
  );
  await outage.over(SPACED);
  const [, , second, third] = gapsBetween(await container.logs({ timestamps: true }), / info starting /);
  expect(second).toBeGreaterThan(5 - COARSE);
  expect(third).toBeGreaterThan(10 - COARSE);
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  await mail.expectEachOnce();
});
