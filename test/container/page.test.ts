/** Monit's page: what it says of the watcher and its mailboxes, and what its buttons do, by HTTP and in a browser. */
import { expect, test } from 'vitest';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { openTab } from './browser.ts';
import {
  type Container,
  CYCLES,
  containerAccount,
  createContainer,
  DAEMON,
  SPACED,
  startContainer,
} from './harness.ts';
import { startMailFlow } from './mail-flow.ts';

const INBOX = { account: 'support', user: 'ann', folder: 'INBOX' };

/** Monit's way of saying that somebody stopped it, or its check. */
const NOT_MONITORED = /^Not monitored$/;
const OK = /^OK$/;

async function startWatching(server: Dovecot): Promise<Container> {
  const accounts = [containerAccount(server, 'support', 'ann')];
  const container = await startContainer({ accounts, secrets: { ann: 'a' } });
  await container.watching();
  await expectHealthy(container);
  return container;
}

async function expectHealthy(container: Container): Promise<void> {
  await container.pageSays('mailwatchd', { status: OK });
  await container.pageSays('support INBOX', { status: OK, output: /^watched$/ });
  expect(await container.processes(DAEMON)).toHaveLength(1);
}

async function expectStopped(container: Container): Promise<void> {
  await container.pageSays('mailwatchd', { status: NOT_MONITORED });
  await container.pageSays('support INBOX', { status: /failed/, output: /^the watcher is not running$/ });
  await container.until('the daemon to end', async () => (await container.processes(DAEMON)).length === 0);
}

/** Cycles that Monit goes through, by the time at which it last ran the check that always runs. */
async function passCycles(container: Container, count: number): Promise<void> {
  for (let cycle = 1; cycle <= count; cycle++) {
    const lastRun = async () => (await container.page.row('heartbeat')).cells['Last started'];
    const before = await lastRun();
    await container.until('the next cycle', async () => (await lastRun()) !== before);
  }
}

test('stopped on the page it stays so, until it is started there', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startWatching(server);
  using mail = startMailFlow(server, container, [INBOX]);

  await container.page.press('mailwatchd', 'stop');
  await expectStopped(container);
  const outage = await mail.outage('stopped on the page', () => passCycles(container, 4));
  await expectStopped(container);
  await container.pageSays('heartbeat', { output: /does not run/ });

  const pressed = performance.now();
  await container.page.press('mailwatchd', 'start');
  await outage.over();
  console.log(`scenario: start on the page: ${((performance.now() - pressed) / 1000).toFixed(1)} s`);
  await expectHealthy(container);
  await mail.expectEachOnce();
});

test('stopped on the page while its starts fail it stays so, also when they would not', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = createContainer({
    accounts: [containerAccount(server, 'support', 'ann')],
    secrets: { ann: 'a' },
  });
  container.configure({ accounts: 'none' });
  using mail = startMailFlow(server, container, [INBOX]);
  await container.run();
  await container.pageSays('heartbeat', { status: /failed/, output: /CONFIG_INVALID/ }, SPACED);

  await container.page.press('mailwatchd', 'stop');
  await container.pageSays('mailwatchd', { status: NOT_MONITORED });
  container.configure({});
  const outage = await mail.outage('stopped on the page while its starts fail', () =>
    passCycles(container, 6),
  );
  await container.pageSays('mailwatchd', { status: NOT_MONITORED });
  expect(await container.processes(DAEMON)).toEqual([]);

  await container.page.press('mailwatchd', 'start');
  await outage.over();
  await mail.expectEachOnce();
});

test('stopped on the page it starts again with the container', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startWatching(server);
  using mail = startMailFlow(server, container, [INBOX]);

  await container.page.press('mailwatchd', 'stop');
  await expectStopped(container);
  const outage = await mail.outage('stopped on the page, then docker restart', () => container.restart());

  await outage.over();
  await expectHealthy(container);
  await mail.expectEachOnce();
});

test('restarted on the page', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  await using container = await startWatching(server);
  using mail = startMailFlow(server, container, [INBOX]);
  const former = await container.daemon();

  const stream = mail.stream();
  const outage = await mail.outage('restart on the page', () =>
    container.page.press('mailwatchd', 'restart'),
  );
  await container.until('another daemon', async () => ![null, former].includes(await container.daemon()));
  await outage.over();
  await stream.stop();

  await container.watching();
  await expectHealthy(container);
  await mail.expectEachOnce();
});

test('in a browser: stop, start and restart, and a mailbox of its own page', async () => {
  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  const accounts = [containerAccount(server, 'support', 'ann'), containerAccount(server, 'sales', 'bob')];
  await using container = await startContainer({ accounts, secrets: { ann: 'a', bob: 'wrong' } });
  using mail = startMailFlow(server, container, [INBOX]);
  await container.pageSays('support INBOX', { status: OK, output: /^watched$/ });
  await container.pageSays('sales INBOX', { status: /failed/, output: /AUTH_FAILED/ });
  await mail.flows();

  await using tab = await openTab(container.page);
  const { page } = tab;
  const rowOf = (name: string) =>
    page.getByRole('row').filter({ has: page.getByRole('link', { name, exact: true }) });
  const press = async (button: string) => {
    await page.goto(container.page.url);
    await page.getByRole('link', { name: 'mailwatchd', exact: true }).click();
    await page.getByRole('button', { name: button, exact: true }).click();
  };
  /** The page loads itself anew every few seconds. */
  const shows = async (name: string, text: string) => {
    await page.goto(container.page.url);
    await rowOf(name).getByText(text).waitFor({ timeout: CYCLES });
  };

  await shows('mailwatchd', 'OK');
  await shows('support INBOX', 'watched');
  await shows('sales INBOX', 'AUTH_FAILED');
  await tab.screenshot('front-page');
  await page.getByRole('link', { name: 'sales INBOX', exact: true }).click();
  await page.getByRole('cell', { name: /^AUTH_FAILED/ }).waitFor();
  await tab.screenshot('failing-mailbox');

  await press('Stop service');
  await shows('mailwatchd', 'Not monitored');
  await shows('support INBOX', 'the watcher is not running');
  await expectStopped(container);
  await tab.screenshot('stopped');

  const outage = await mail.outage('stopped, then started in a browser', () => press('Start service'));
  await outage.over();
  await shows('mailwatchd', 'OK');
  await shows('support INBOX', 'watched');

  const former = await container.daemon();
  const restart = await mail.outage('restarted in a browser', () => press('Restart service'));
  await restart.over();
  await container.until('another daemon', async () => ![null, former].includes(await container.daemon()));
  await shows('mailwatchd', 'OK');
  await tab.screenshot('restarted');
  await mail.flows();
  await mail.expectEachOnce();
});

test('a mailbox with a wrong password says so; the others go on, and it comes back with the right one', async () => {
  await using server = await startDovecot({ users: { ann: 'a', bob: 'b' } });
  const accounts = [containerAccount(server, 'support', 'ann'), containerAccount(server, 'sales', 'bob')];
  await using container = await startContainer({ accounts, secrets: { ann: 'a', bob: 'wrong' } });
  const sales = { account: 'sales', user: 'bob', folder: 'INBOX' };
  using mail = startMailFlow(server, container, [INBOX, sales]);

  await container.pageSays('sales INBOX', {
    status: /failed/,
    output: /^AUTH_FAILED: .*check `user` and `password`/,
  });
  await container.pageSays('support INBOX', { status: OK, output: /^watched$/ });
  await container.pageSays('mailwatchd', { status: OK });
  const waiting = await mail.deliver(sales);
  await mail.flows(INBOX);
  expect((await container.page.details('sales INBOX'))['Last output']).toMatch(/^AUTH_FAILED/);

  container.setSecret('bob', 'b');
  expect(await container.exec('/etc/init.d/mailwatchd', 'reload')).toMatchObject({ status: 0 });
  await mail.published(waiting);
  await container.pageSays('sales INBOX', { status: OK, output: /^watched$/ });
  await mail.expectEachOnce();
});

test('folders of any name: a line, a page and a button for each', async () => {
  // Monit's name of each by the folder's.
  const names = {
    'Rechnungen/März': 'support Rechnungen.März',
    'Don\'t "panic"': 'support Don.t .panic.',
    '100% <b>&amp;': 'support 100. .b..amp.',
    'a?b#c': 'support a.b.c',
    請求書: 'support 請求書',
  };
  const folders = Object.keys(names);
  await using server = await startDovecot({ users: { ann: 'a' } });
  for (const folder of folders) await server.createFolder('ann', folder);
  await using container = await startContainer({
    accounts: [containerAccount(server, 'support', 'ann', { folders })],
    secrets: { ann: 'a' },
  });
  const watched = folders.map((folder) => ({ account: 'support', user: 'ann', folder }));
  using mail = startMailFlow(server, container, watched);
  await container.watching();

  for (const name of Object.values(names)) {
    await container.pageSays(name, { status: OK, output: /^watched$/ });
    expect(await container.page.details(name)).toMatchObject({ Name: name, 'Last output': 'watched' });
    expect(await container.page.buttons(name)).toEqual(['unmonitor']);
    await container.page.press(name, 'unmonitor');
    await container.pageSays(name, { status: NOT_MONITORED });
    await container.page.press(name, 'monitor');
  }
  for (const name of Object.values(names))
    await container.pageSays(name, { status: OK, output: /^watched$/ });
  for (const each of watched) await mail.flows(each);
  await mail.expectEachOnce();
});
