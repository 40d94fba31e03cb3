/** A canary is left, noticed by push, measured and removed; and whatever keeps it from that is told within two intervals. */
import { beforeAll, expect, test } from 'vitest';
import { type CanaryOptions, watchCanary } from '../../src/mailbox/canary.ts';
import { canaryMessage } from '../../src/mailbox/canary-message.ts';
import type { MailboxReport } from '../../src/mailbox/watcher.ts';
import { createManualClock } from '../clock.ts';
import { type ScriptedOptions, startScriptedServer } from '../servers/scripted.ts';
import { startSmtpServer } from '../servers/smtp.ts';
import { collectLog, IDLE_RENEW_MS, mail, PASSWORD, POLL_MS } from './harness.ts';

const EVERY = 900_000;
/** Other than all that is waited for, so that the timers of what is under way are told from these. */
const OPERATION_MS = 48_000;
/** Of a login, of a look at a silent operation, and of a goodbye. */
const UNDER_WAY = new Set([OPERATION_MS, OPERATION_MS / 4, 2_000]);
/** Turns of the event loop in which what one side of a connection in this process sent has reached the other. */
const CALM_TURNS = 20;
const FOLDER = 'canary';
const OWN = { from: 'ann@example.org', to: 'ann@example.org' };
const TOKEN = '0123456789abcdef0123456789abcdef';

// Loading it is nothing that `settled` could see.
beforeAll(() => import('nodemailer/lib/smtp-connection'));

async function createCanary({ capabilities = ['IDLE', 'UIDPLUS'], ...more }: ScriptedOptions = {}) {
  const server = await startScriptedServer({ capabilities, ...more });
  const clock = createManualClock(Date.now());
  const controller = new AbortController();
  const logged: string[] = [];
  let watcher: ReturnType<typeof watchCanary> | undefined;
  const canary = {
    server,
    clock,
    logged,
    /** What lies in the folder. */
    left: () => server.folders.get(FOLDER)?.messages ?? [],
    watch(watched: string[] = ['INBOX'], smtp: CanaryOptions['smtp'] = null, every = EVERY) {
      watcher = watchCanary({
        account: {
          name: 'support',
          host: '127.0.0.1',
          port: server.port,
          security: 'none',
          provider: null,
          ca: null,
          user: 'ann@example.org',
          credential: async () => ({ password: PASSWORD }),
          start: { kind: 'all' },
          after: { seen: false, move: null, delete: false },
          filter: null,
          pollEvery: POLL_MS,
          idleRenewEvery: IDLE_RENEW_MS,
        },
        mailbox: { account: 'support', folder: FOLDER },
        every,
        watched,
        smtp,
        limits: { messageBytes: 1024 * 1024, operationSeconds: OPERATION_MS / 1000 },
        clock,
        log: collectLog(logged),
        takeTurn: async () => undefined,
        signal: controller.signal,
        random: () => 0.5,
      });
    },
    report: () => watcher!.report(),
    nudge: () => watcher!.nudge(),
    /** Resolves when nothing is under way and one thing is waited for: a push, a poll, or the next try. */
    async settled() {
      for (let calm = 0; calm < CALM_TURNS; ) {
        await new Promise((resolve) => setImmediate(resolve));
        const [next, ...more] = clock.timers();
        calm = next !== undefined && more.length === 0 && !UNDER_WAY.has(next) ? calm + 1 : 0;
      }
    },
    /** Turns the clock on from one thing that is due to the next until the condition holds; returns how far, ms. */
    async turnUntil(condition: (report: MailboxReport) => boolean) {
      const begun = clock.monotonic();
      for (;;) {
        await canary.settled();
        if (condition(watcher!.report())) return clock.monotonic() - begun;
        clock.advance(clock.timers()[0]!);
      }
    },
    async stop() {
      controller.abort();
      await watcher?.done;
    },
    async [Symbol.asyncDispose]() {
      controller.abort();
      for (const session of server.sessions) session.destroy();
      await watcher?.done;
      await server.close();
    },
  };
  return canary;
}

test('a canary is left where a second connection puts it, pushed, measured and removed, again and again', async () => {
  await using canary = await createCanary();
  const { server, clock } = canary;
  canary.watch();
  await canary.settled();
  expect(canary.left()).toEqual([]);
  expect(canary.report()).toMatchObject({ state: 'idle', healthy: true, reason: null });
  expect(canary.report()).toMatchObject({ expected: 1, stored: 1, missing: 0 });
  expect(canary.report()).toMatchObject({
    delay: { count: 1 },
    lastPushAt: clock.now(),
    lastPublishedAt: null,
  });
  expect(server.commands).toContain(`CREATE ${FOLDER}`);
  expect(server.commands.filter((command) => /EXPUNGE/.test(command))).toEqual(['UID EXPUNGE 1']);
  expect(server.connections()).toBe(2);

  // IDLE is renewed in between.
  expect(await canary.turnUntil(({ stored }) => stored === 2)).toBe(EVERY);
  expect(canary.left()).toEqual([]);
  expect(server.connections()).toBe(3);
});

test('the round trip is the time from APPEND until the push', async () => {
  await using canary = await createCanary();
  const { server, clock } = canary;
  server.pushes = false;
  canary.watch();
  await canary.settled();
  expect(canary.left()).toHaveLength(1);
  expect(canary.report()).toMatchObject({ missing: 1, oldestWaiting: clock.now() });
  clock.advance(7_000);
  for (const session of server.sessions) session.send('* 1 EXISTS');
  await canary.settled();
  expect(canary.report().delay).toMatchObject({ count: 1, max: 7_000 });
});

test('pushes that the server withholds are noticed within two intervals, and their return by the next canary', async () => {
  await using canary = await createCanary();
  const { server, logged } = canary;
  canary.watch();
  await canary.settled();

  server.pushes = false;
  const passed = await canary.turnUntil(({ healthy }) => !healthy);
  expect(passed).toBeLessThanOrEqual(2 * EVERY);
  expect(canary.report().reason).toMatch(/^CANARY_MISSING: support\/canary: .* did not tell of it/);
  expect(canary.left()).toEqual([]);
  expect(logged.filter((line) => line.startsWith('warn'))).toHaveLength(1);

  server.pushes = true;
  await canary.turnUntil(({ healthy }) => healthy);
  expect(canary.report()).toMatchObject({ reason: null, missing: 0 });
});

test('a canary that never comes is missing after an interval', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  canary.watch();
  await canary.settled();
  server.script = ({ name, tag, session }) => {
    if (name !== 'APPEND') return false;
    session.send(`${tag} OK I took it`);
    return true;
  };
  const passed = await canary.turnUntil(({ healthy }) => !healthy);
  expect(passed).toBeLessThanOrEqual(2 * EVERY);
  expect(canary.report().reason).toMatch(/^CANARY_MISSING: .* not seen within 900 s/);
  server.script = undefined;
  await canary.turnUntil(({ healthy }) => healthy);
});

test.each([
  ['no space', 'NO [OVERQUOTA] Quota exceeded', /^CANARY_MISSING: .*refuses the canary: .*Quota exceeded/],
  ['no right', 'NO [NOPERM] Permission denied', /^CANARY_MISSING: .*refuses the canary: .*Permission denied/],
])('a canary that is refused for %s makes it unhealthy in these words', async (_what, answer, words) => {
  await using canary = await createCanary();
  const { server } = canary;
  server.createFolder(FOLDER);
  server.script = ({ name, tag, session }) => {
    if (name !== 'APPEND') return false;
    session.send(`${tag} ${answer}`);
    return true;
  };
  canary.watch();
  await canary.settled();
  expect(canary.report()).toMatchObject({ healthy: false, reason: expect.stringMatching(words) });
  server.script = undefined;
  // Somebody made room, and says so.
  canary.nudge();
  await canary.settled();
  expect(canary.report()).toMatchObject({ healthy: true, state: 'idle', stored: 1 });
  expect(canary.report().lastPushAt).not.toBeNull();
});

test('a canary that somebody else expunges is missed, and the next one is well', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  canary.watch();
  await canary.settled();
  server.script = (command) => {
    if (command.name !== 'APPEND') return false;
    command.session.answer(command);
    server.expunge(FOLDER, canary.left().at(-1)!.uid);
    return true;
  };
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report().reason).toContain('CANARY_MISSING');
  server.script = undefined;
  await canary.turnUntil(({ healthy }) => healthy);
});

test('what a crash left behind is removed; what is not ours, or may be another daemon’s, is not', async () => {
  await using canary = await createCanary();
  const { server, clock } = canary;
  server.createFolder(FOLDER);
  const old = new Date(clock.now() - 3 * EVERY);
  const id = 'c0ffee00c0ffee00c0ffee00c0ffee00';
  server.deliver(FOLDER, canaryMessage(id, OWN, +old), { internalDate: old });
  server.deliver(FOLDER, mail('not ours'), { internalDate: old });
  server.deliver(FOLDER, canaryMessage('forged', OWN, +old), { internalDate: old });
  server.deliver(FOLDER, canaryMessage(id, OWN, clock.now()), { internalDate: new Date() });
  canary.watch();
  await canary.settled();
  expect(canary.left().map(({ uid }) => uid)).toEqual([2, 3, 4]);
});

test('one that comes late is removed in time, without a new connection', async () => {
  await using canary = await createCanary();
  const { server, clock } = canary;
  canary.watch();
  await canary.settled();
  const late = canaryMessage('0'.repeat(32), OWN, clock.now());
  server.deliver(FOLDER, late, { internalDate: new Date(clock.now()) });
  await canary.turnUntil(({ stored }) => stored === 5);
  expect(canary.left()).toEqual([]);
  expect(server.connections()).toBe(6);
});

test('another one’s canary is not taken for ours', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  server.createFolder(FOLDER);
  server.script = ({ name, tag, session }) => {
    if (name !== 'APPEND') return false;
    server.deliver(FOLDER, canaryMessage('0'.repeat(32), OWN, Date.now()));
    session.send(`${tag} OK done`);
    return true;
  };
  canary.watch();
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report()).toMatchObject({ stored: 0, delay: null });
});

test('a server without UIDPLUS could not remove it alone, which is told', async () => {
  await using canary = await createCanary({ capabilities: ['IDLE'] });
  canary.watch();
  await canary.settled();
  expect(canary.report().reason).toMatch(/^DELETE_UNSUPPORTED: .*canary cannot be removed.*canary\.every/);
  expect(canary.left()).toEqual([]);
});

test('Gmail keeps what is expunged, so it goes to the trash there', async () => {
  await using canary = await createCanary({ capabilities: ['IDLE', 'UIDPLUS', 'MOVE', 'X-GM-EXT-1'] });
  const { server } = canary;
  server.createFolder('[Gmail]/Papierkorb', { attributes: ['\\Trash'] });
  canary.watch();
  await canary.settled();
  expect(canary.report()).toMatchObject({ healthy: true, stored: 1 });
  expect(canary.left()).toEqual([]);
  expect(server.folders.get('[Gmail]/Papierkorb')!.messages).toHaveLength(1);
});

test.each([
  '\\All',
  '[Gmail]/Alle Nachrichten',
])('where it would show in a watched folder none is left: %s', async (folder) => {
  await using canary = await createCanary();
  const { server } = canary;
  server.createFolder('[Gmail]/Alle Nachrichten', { attributes: ['\\All'] });
  canary.watch(['INBOX', folder]);
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report().reason).toMatch(/^CANARY_MISSING: .*would show in .*, which is watched/);
  expect(server.commands.filter((command) => command.startsWith('APPEND'))).toEqual([]);
});

test('without IDLE it is found by asking, which is no fault', async () => {
  await using canary = await createCanary({ capabilities: ['UIDPLUS'] });
  canary.watch();
  const passed = await canary.turnUntil(({ stored }) => stored === 1);
  expect(passed).toBe(POLL_MS);
  expect(canary.report()).toMatchObject({ healthy: true, lastPushAt: null, delay: { count: 1 } });
});

test('a connection that is lost while a canary is out costs this one alone', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  server.pushes = false;
  canary.watch();
  await canary.settled();
  expect(canary.left()).toHaveLength(1);
  const [lost] = server.sessions;
  lost!.destroy();
  server.pushes = true;
  await canary.turnUntil(({ stored }) => stored === 1);
  expect(canary.report()).toMatchObject({ healthy: true, missing: 0 });
});

test('a folder that somebody removed is made again', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  canary.watch();
  await canary.settled();
  server.folders.delete(FOLDER);
  await canary.turnUntil(({ expected }) => expected === 2);
  expect(canary.report()).toMatchObject({ healthy: true, stored: 2 });
});

test('a stop while a canary is out ends it without a word', async () => {
  await using canary = await createCanary();
  canary.server.pushes = false;
  canary.watch();
  await canary.settled();
  await canary.stop();
  expect(canary.logged.filter((line) => !line.startsWith('debug'))).toEqual([]);
});

test('a nudge sends the next one at once', async () => {
  await using canary = await createCanary();
  canary.watch();
  await canary.settled();
  canary.nudge();
  await canary.settled();
  expect(canary.report()).toMatchObject({ stored: 2 });
});

/** An SMTP server that files what it takes in `folder`, and the settings for it. */
async function createRelay(
  canary: Awaited<ReturnType<typeof createCanary>>,
  folder: () => string,
  rewritten = (raw: string) => raw,
) {
  const relay = await startSmtpServer({
    users: { 'ann@example.org': PASSWORD },
    deliver: (_to, raw) => void canary.server.deliver(folder(), rewritten(raw.toString())),
  });
  const smtp: CanaryOptions['smtp'] = {
    host: '127.0.0.1',
    port: relay.port,
    security: 'none',
    ca: null,
    user: 'ann@example.org',
    credential: async () => ({ password: PASSWORD }),
    from: 'ann@example.org',
    to: 'ann+canary@example.org',
    token: TOKEN,
  };
  return { relay, smtp };
}

test('a canary is sent by SMTP, filed by the server, pushed, measured and removed', async () => {
  await using canary = await createCanary();
  const { relay, smtp } = await createRelay(canary, () => FOLDER);
  await using _relay = relay;
  canary.watch(['INBOX'], smtp);
  await canary.turnUntil(({ stored }) => stored === 2);
  expect(canary.report()).toMatchObject({ state: 'idle', healthy: true, missing: 0, delay: { count: 2 } });
  expect(canary.report().lastPushAt).not.toBeNull();
  expect(canary.left()).toEqual([]);
  expect(relay.commands.filter((line) => line === 'DATA')).toHaveLength(2);
  expect(canary.server.commands.filter((command) => command.startsWith('APPEND'))).toEqual([]);
});

test.each([
  [
    'MAIL',
    '552 5.2.2 Mailbox quota exceeded',
    /cannot be sent: 127\.0\.0\.1:\d+: 552 5\.2\.2 Mailbox quota exceeded/,
  ],
  [
    'AUTH',
    `535 5.7.8 wrong password ${PASSWORD}`,
    /cannot be sent: .*wrong password \[secret\]: check `user` and `password`/,
  ],
])('what keeps a canary from being sent, such as a refusal of %s, is told, and IMAP goes on', async (command, answer, words) => {
  await using canary = await createCanary();
  const { relay, smtp } = await createRelay(canary, () => FOLDER);
  await using _relay = relay;
  relay.script = (line) => (line.startsWith(command) ? answer : undefined);
  canary.watch(['INBOX'], smtp);
  await canary.turnUntil(({ healthy }) => !healthy);
  const { reason, state } = canary.report();
  expect(reason).toMatch(/^CANARY_MISSING: support\/canary: the canary /);
  expect(reason).toMatch(words);
  expect(state).toBe('idle');
  expect(`${reason}${canary.logged.join()}`).not.toContain(PASSWORD);
  expect(canary.server.connections()).toBe(1);
  relay.script = undefined;
  await canary.turnUntil(({ healthy }) => healthy);
  expect(canary.report()).toMatchObject({ stored: 1, missing: 0 });
});

test('an SMTP server that refuses a login is asked again more and more seldom', async () => {
  await using canary = await createCanary();
  const { relay, smtp } = await createRelay(canary, () => FOLDER);
  await using _relay = relay;
  relay.script = (line) => (line.startsWith('AUTH') ? '535 5.7.8 wrong' : undefined);
  canary.watch(['INBOX'], smtp, 60_000);
  const loginsWithin = async (milliseconds: number) => {
    const [begun, before] = [canary.clock.monotonic(), relay.connections()];
    await canary.turnUntil(() => canary.clock.monotonic() >= begun + milliseconds);
    return relay.connections() - before;
  };
  expect(await loginsWithin(3_600_000)).toBeLessThan(15);
  expect(await loginsWithin(3_600_000)).toBeLessThan(10);
  // Whoever corrected the password need not wait.
  relay.script = undefined;
  canary.nudge();
  await canary.settled();
  expect(canary.report()).toMatchObject({ healthy: true, stored: 1 });
});

test('a stop does not wait for an SMTP server, and is no trouble', async () => {
  await using canary = await createCanary();
  const { relay, smtp } = await createRelay(canary, () => FOLDER);
  await using _relay = relay;
  relay.script = (line) => (line.startsWith('MAIL') ? '' : undefined);
  canary.watch(['INBOX'], smtp);
  while (!relay.commands.some((line) => line.startsWith('MAIL')))
    await new Promise((resolve) => setImmediate(resolve));
  await canary.stop();
  expect(canary.logged.filter((line) => !line.startsWith('debug'))).toEqual([]);
});

test('an SMTP server that is not there is told', async () => {
  await using canary = await createCanary();
  const { relay, smtp } = await createRelay(canary, () => FOLDER);
  await relay[Symbol.asyncDispose]();
  canary.watch(['INBOX'], smtp);
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report()).toMatchObject({
    state: 'idle',
    reason: expect.stringMatching(/^CANARY_MISSING: .*cannot be sent: .*ECONNREFUSED/),
  });
});

test('a canary that does not come is missed, and where it should be filed is said', async () => {
  await using canary = await createCanary();
  let folder = 'Elsewhere';
  canary.server.createFolder(folder);
  const { relay, smtp } = await createRelay(canary, () => folder);
  await using _relay = relay;
  canary.watch(['INBOX'], smtp);
  const passed = await canary.turnUntil(({ healthy }) => !healthy);
  expect(passed).toBeLessThanOrEqual(2 * EVERY);
  expect(canary.report().reason).toMatch(/not seen within 900 s: does the mail server file it in canary\?/);
  folder = FOLDER;
  await canary.turnUntil(({ healthy }) => healthy);
});

test.each([
  'INBOX',
  'Invoices',
  'Spam',
])('canaries that come into %s are removed there, and nothing that another one made', async (folder) => {
  await using canary = await createCanary();
  const { server, clock } = canary;
  server.createFolder('Invoices');
  server.createFolder('Spam', { attributes: ['\\Junk'] });
  const mailIn = (name: string) => server.folders.get(name)!.messages.map(({ uid }) => uid);
  const fold = (raw: string) => raw.replace(` ${TOKEN}`, `\r\n\t${TOKEN}`);
  const { relay, smtp } = await createRelay(canary, () => folder, fold);
  await using _relay = relay;
  const id = 'c0ffee00'.repeat(4);
  for (const token of [undefined, 'c0ffee00'.repeat(4)])
    server.deliver(folder, canaryMessage(id, { ...OWN, ...(token && { token }) }, clock.now()));
  // A canary in its body is none.
  server.deliver(folder, `Subject: x\r\n\r\n${canaryMessage(id, { ...OWN, token: TOKEN }, clock.now())}`);
  canary.watch(['Invoices'], smtp);
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report().reason).toMatch(
    new RegExp(`a canary came into ${folder}: let the mail server file it in canary$`),
  );
  // The next one is under way.
  expect(mailIn(folder)).toEqual([1, 2, 3, 5]);
  expect(canary.report()).toMatchObject({ expected: 1, missing: 1 });
});

test('the copy that a provider keeps in a watched folder of sent mail is not where a canary came to', async () => {
  await using canary = await createCanary();
  const { server } = canary;
  server.createFolder('Gesendet', { attributes: ['\\Sent'] });
  let folder = 'Elsewhere';
  server.createFolder(folder);
  const { relay, smtp } = await createRelay(
    canary,
    () => folder,
    (raw) => {
      server.deliver('Gesendet', raw);
      return raw;
    },
  );
  await using _relay = relay;
  canary.watch(['Gesendet', 'INBOX'], smtp);
  await canary.turnUntil(({ healthy }) => !healthy);
  expect(canary.report().reason).toMatch(/not seen within 900 s: does the mail server file it in canary\?/);
  folder = 'INBOX';
  await canary.turnUntil(({ reason }) => /came into/.test(reason ?? ''));
  expect(canary.report().reason).toMatch(/a canary came into INBOX: let/);
  // The next one is under way.
  expect(server.folders.get('INBOX')!.messages.map(({ uid }) => uid)).toEqual([2]);
});
