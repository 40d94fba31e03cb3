/** What becomes of mail when the daemon, Monit or the container is killed, hangs, or is stopped and started. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { expectListed, expectStagingEmpty } from '../dovecot/ground-truth.ts';
import type { ListedMessage } from '../dovecot/workplace.ts';
import { startDovecot } from '../servers/dovecot.ts';
import { runSeed, seededRandom } from '../servers/random.ts';
import { until } from '../servers/until.ts';
import { dockerOk } from './docker.ts';
import {
  type Container,
  containerAccount,
  createContainer,
  DAEMON,
  MONIT,
  SPACED,
  startContainer,
} from './harness.ts';
import { startMailFlow } from './mail-flow.ts';

const RESTARTS = 10;
const KILLS = 10;

/** `docker stop` kills what has not ended then, ms. */
const DOCKER_PATIENCE = 10_000;

const INBOX = [{ account: 'support', user: 'ann', folder: 'INBOX' }];

/** A container that watches ann's INBOX, which Monit's page says too, and mail on its way there. */
async function startWatching() {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(await startDovecot({ users: { ann: 'a' } }));
  const container = stack.use(
    await startContainer({
      accounts: [containerAccount(server, 'support', 'ann')],
      secrets: { ann: 'a' },
    }),
  );
  const mail = stack.use(startMailFlow(server, container, INBOX));
  await container.watching();
  await expectHealthy(container);
  const kept = stack.move();
  return { container, mail, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function expectHealthy(container: Container): Promise<void> {
  await container.pageSays('mailwatchd', { status: /^OK$/ });
  await container.pageSays('heartbeat', { status: /^OK$/, output: /runs as process/ });
  await container.pageSays('support INBOX', { status: /^OK$/, output: /^watched$/ });
}

const processOnPage = async ({ page }: Container) => (await page.details('mailwatchd')).Pid;

test('kill -9 of the daemon: Monit starts another', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const former = await processOnPage(container);

  const outage = await mail.outage('kill -9 of the daemon', () => container.signalDaemon('KILL'));

  await outage.over();
  await container.until(
    'another process on the page',
    async () => (await processOnPage(container)) !== former,
  );
  await expectHealthy(container);
  expect(await container.logs()).toMatch(/^mailwatchd: process \d+ ended by itself, \d+ s after its start$/m);
  await mail.expectEachOnce();
});

test('SIGSTOP of the daemon: the page says that it shows no life, and Monit restarts it', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const former = await processOnPage(container);

  const outage = await mail.outage('SIGSTOP of the daemon', () => container.signalDaemon('STOP'));

  await container.pageSays('heartbeat', { status: /failed/, output: /has shown no life for \d+ s/ });
  await outage.over();
  await container.until(
    'another process on the page',
    async () => (await processOnPage(container)) !== former,
  );
  await expectHealthy(container);
  await mail.expectEachOnce();
});

test('kill -9 of Monit: the daemon goes on, and the page comes back', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const daemon = await container.daemon();
  const [monit] = await container.processes(MONIT);

  const outage = await mail.outage('kill -9 of Monit', async () => process.kill(monit!.pid, 'SIGKILL'));

  await outage.over();
  await container.until('another Monit', async () => (await container.processes(MONIT)).length === 1);
  await expectHealthy(container);
  expect(await container.daemon()).toBe(daemon);
  expect(await container.logs()).toContain('Monit ended and is started again');
  await mail.expectEachOnce();
});

test('docker stop under delivery: the watcher ends before Monit, in time, and leaves nothing in flight', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const stream = mail.stream();
  await container.until('mail to be under way', () => stream.sent() >= 50);
  const [daemon] = await container.processes(DAEMON);
  const [monit] = await container.processes(MONIT);

  const order: string[] = [];
  const ends = [
    { name: 'the watcher', one: daemon! },
    { name: 'Monit', one: monit! },
  ].map(async ({ name, one }) => {
    await until(`${name} to end`, () => !one.exists(), DOCKER_PATIENCE, 1);
    order.push(name);
  });
  const [milliseconds] = await Promise.all([container.stop(), ...ends]);
  await stream.stop();

  console.log(`scenario: docker stop under delivery: ${(milliseconds / 1000).toFixed(1)} s`);
  expect(milliseconds).toBeLessThan(DOCKER_PATIENCE);
  expect(await container.inspect('{{.State.ExitCode}} {{.State.OOMKilled}}')).toBe('0 false');
  expect(order).toEqual(['the watcher', 'Monit']);
  expectStagingEmpty(container.storage);

  const outage = await mail.outage('docker start after docker stop', () => container.start());
  await outage.over();
  await expectHealthy(container);
  await mail.expectEachOnce();
});

/** Halts the daemon, from when it is there, again and again: it reacts to nothing but SIGKILL. */
async function paralyse(container: Container): Promise<void> {
  const halt = `while :; do
    read -r pid </run/mailwatchd/mailwatchd.pid && grep -aq main.js.run "/proc/$pid/cmdline" && kill -STOP "$pid"
  done 2>/dev/null`;
  await dockerOk('exec', '--detach', container.name, 'sh', '-c', halt);
  await container.until('the daemon to be halted', async () => {
    const { stdout } = await container.exec('grep', 'State', `/proc/${await container.daemon()}/status`);
    return stdout.includes('T (stopped)');
  });
}

/** The 7 to 8 s that it takes at most, on a machine that has much else to do; less than a start that hangs. */
const PATIENCE = 25;

async function expectEndsByItself(container: Container, scenario: string): Promise<void> {
  const milliseconds = await container.stop(PATIENCE);
  console.log(`scenario: docker stop, ${scenario}: ${(milliseconds / 1000).toFixed(1)} s`);
  expect(await container.inspect('{{.State.ExitCode}}')).toBe('0');
}

test('docker stop of a watcher that reacts to nothing: it is killed in time, and nothing is lost', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  await paralyse(container);

  await expectEndsByItself(container, 'the watcher reacts to nothing');

  expect(await container.logs()).toMatch(/process \d+ did not stop within 7 s: killed/);
  const outage = await mail.outage('docker start after a watcher that had to be killed', () =>
    container.start(),
  );
  await outage.over();
  await mail.expectEachOnce();
});

test('docker stop while a start hangs, is refused, or has only just begun', async () => {
  await using server = await startDovecot({ users: { ann: 'a' } });
  const options = { accounts: [containerAccount(server, 'support', 'ann')], secrets: { ann: 'a' } };

  await using hanging = createContainer(options);
  await hanging.run();
  await paralyse(hanging);
  await expectEndsByItself(hanging, 'a start hangs');

  await using faulty = createContainer(options);
  faulty.configure({ accounts: 'none' });
  await faulty.run();
  await faulty.until('a failed start', async () => (await faulty.logs()).includes('CONFIG_INVALID'));
  await expectEndsByItself(faulty, 'Monit waits for a start that failed');

  await using young = createContainer(options);
  await young.run();
  await young.until('the page to be announced', async () => (await young.logs()).includes("Monit's page"));
  await expectEndsByItself(young, 'Monit is about to start');
});

test('docker kill and docker start, with pid files that name a living stranger', async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const stream = mail.stream();
  await container.until('mail to be under way', () => stream.sent() >= 20);

  await container.kill();
  await stream.stop();
  // In the next life this is tini's, and so it is always one that lives.
  const stale = join(container.directory, 'stale');
  writeFileSync(stale, '1\n');
  for (const file of ['mailwatchd/mailwatchd.pid', 'monit.pid'])
    await dockerOk('cp', stale, `${container.name}:/run/${file}`);
  const outage = await mail.outage('docker kill and start', () => container.start());

  await outage.over();
  await expectHealthy(container);
  expect(await container.daemon()).not.toBe(1);
  await mail.expectEachOnce();
});

test(`docker restart ${RESTARTS} times in a row under delivery`, async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const stream = mail.stream();

  const seconds: number[] = [];
  for (let restart = 1; restart <= RESTARTS; restart++) {
    const outage = await mail.outage(`docker restart ${restart}`, () => container.restart());
    // Every third is restarted again before it is ready.
    if (restart % 3 > 0 || restart === RESTARTS) seconds.push(await outage.over());
  }
  await stream.stop();

  console.log(
    `scenario: docker restart: ${stream.sent()} messages, longest ${Math.max(...seconds).toFixed(1)} s`,
  );
  expect(await container.inspect('{{.State.Status}}')).toBe('running');
  await expectHealthy(container);
  await mail.expectEachOnce();
});

test(`docker kill ${KILLS} times at random under delivery: each message once, and the ledger agrees`, async () => {
  await using place = await startWatching();
  const { container, mail } = place;
  const seed = runSeed();
  console.log(`scenario: docker kill at random: MAILWATCHD_TEST_SEED=${seed}`);
  const random = seededRandom(seed);
  const stream = mail.stream();

  const moments: Record<string, () => Promise<unknown>> = {
    'in delivery': () => {
      const sent = stream.sent() + random.between(1, 60);
      return until('more mail', () => stream.sent() >= sent, SPACED, 1);
    },
    'while it settles what the last life left': () =>
      until('the watcher', async () => (await container.processes(DAEMON)).length > 0, SPACED, 1),
  };
  for (let kill = 1; kill <= KILLS; kill++) {
    const [moment, come] = random.pick(Object.entries(moments));
    await come();
    await container.kill();
    console.log(`scenario: docker kill ${kill} ${moment}: ${stream.sent()} messages sent`);
    await container.start();
  }
  await stream.stop();
  const consumed = await mail.expectEachOnce();

  await expectHealthy(container);
  const { stdout } = await container.exec('mailwatchd', 'list', '--json');
  const listed = stdout.trimEnd().split('\n');
  expectListed(
    consumed,
    listed.map((line) => JSON.parse(line) as ListedMessage),
    '/var/spool/mailwatchd',
  );
  await container.stop();
  expectStagingEmpty(container.storage);
});
