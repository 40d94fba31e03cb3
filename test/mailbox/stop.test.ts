/** A stop in each state, `once`, back-off, and hostile or silent servers: the watcher always ends or goes on. */
import { expect, test } from 'vitest';
import { MailwatchdError } from '../../src/errors.ts';
import { backoff } from '../../src/mailbox/backoff.ts';
import { row } from '../servers/scripted.ts';
import { createHarness, mail, OPERATION_MS } from './harness.ts';

test('a stop while idle says goodbye', async () => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  const closed = harness.server.seen(/^LOGOUT/);
  await harness.stop();
  await closed;
  expect(harness.server.commands.slice(-2)).toEqual(['DONE', 'LOGOUT']);
});

test.each([
  'LOGIN',
  'SELECT',
  'UID SEARCH',
  'UID FETCH',
])('a stop ends a %s that is not answered', async (name) => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  harness.server.script = (command) => command.name === name;
  const asked = harness.server.seen(new RegExp(`^${name}`));
  await harness.watch();
  await asked;
  await harness.stop();
  expect(harness.intake.published).toEqual([]);
});

test('a stop finishes what is in flight and fetches nothing more', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 300; uid++) server.deliver('INBOX', mail(`m${uid}`));
  const gate = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  intake.gate = () => {
    if (intake.working.length === 256) all.resolve();
    return gate.promise;
  };
  await harness.watch();
  await all.promise;
  const stopped = harness.stop();
  gate.resolve();
  await stopped;
  expect(intake.published).toHaveLength(256);
});

test('a stop ends a back-off, a hold and a wait for bytes', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  server.password = 'another';
  await harness.watch();
  await harness.until(({ state }) => state === 'failing');
  await harness.stop();

  server.password = 'secret-pa55word';
  intake.gate = async () => {
    throw new MailwatchdError('STORAGE_FULL');
  };
  await harness.watch();
  await harness.until(({ state }) => state === 'holding');
  await harness.stop();

  intake.gate = null;
  const release = await intake.reserve(1, { alone: true, signal: new AbortController().signal });
  const listed = server.seen(/^UID SEARCH/);
  await harness.watch();
  await listed;
  await harness.stop();
  release();
  expect(intake.published).toEqual([]);
});

test('once: resolves when all is stored', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 30; uid++) server.deliver('INBOX', mail(`m${uid}`));
  await harness.watch({ mode: 'once' });
  await harness.done();
  expect(intake.published).toHaveLength(30);
  expect(harness.report()).toMatchObject({ expected: 30, stored: 30, missing: 0 });
  expect(server.commands).toContain('LOGOUT');
  expect(server.commands).not.toContain('IDLE');
});

test('once: a wrong password rejects at once, a lost connection after some tries', async () => {
  await using harness = await createHarness({ password: 'another' });
  await harness.watch({ mode: 'once' });
  await expect(harness.done()).rejects.toMatchObject({ code: 'AUTH_FAILED' });

  harness.server.password = 'secret-pa55word';
  harness.server.script = ({ name, session }) => {
    if (name !== 'SELECT') return false;
    session.destroy();
    return true;
  };
  harness.logged.length = 0;
  await harness.watch({ mode: 'once' });
  for (const count of [1, 2, 3]) await harness.retry(count);
  await expect(harness.done()).rejects.toMatchObject({ code: 'CONNECTION_LOST' });
});

test('once: storage that stays full rejects', async () => {
  await using harness = await createHarness();
  const { server, intake, clock } = harness;
  server.deliver('INBOX', mail('one'));
  intake.gate = async () => {
    throw new MailwatchdError('STORAGE_FULL');
  };
  await harness.watch({ mode: 'once' });
  for (const wait of [1_000, 2_000, 4_000]) {
    await harness.until(() => clock.timers()[0] === wait && clock.timers().length === 1);
    clock.advance(wait);
  }
  await expect(harness.done()).rejects.toMatchObject({ code: 'STORAGE_FULL' });
});

test('a server that never greets, or greets with BYE', async () => {
  await using harness = await createHarness({ greeting: null });
  await harness.watch();
  await harness.until(() => harness.clock.timers().length > 0);
  harness.clock.advance(OPERATION_MS);
  const silent = await harness.until(({ reason }) => reason !== null);
  expect(silent.reason).toContain('no login within 60 s');
  harness.server.greeting = '* BYE too busy, come back later';
  await harness.retry(1);
  const bye = await harness.until(({ reason }) => reason !== silent.reason);
  expect(bye.reason).toContain('too busy');
  expect(bye.state).not.toBe('failing');
});

test.each([
  'SELECT',
  'UID SEARCH',
  'UID FETCH',
])('a BYE instead of the answer to %s is not the end', async (name) => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  let once = true;
  harness.server.script = (command) => {
    if (command.name !== name || !once) return false;
    once = false;
    command.session.end('* BYE shutting down for maintenance');
    return true;
  };
  await harness.watch();
  const report = await harness.retry(1);
  expect(report.reason).toContain('shutting down for maintenance');
  await harness.server.idle();
  expect(harness.intake.published).toHaveLength(1);
});

test.each([
  'SELECT',
  'UID SEARCH',
  'UID FETCH',
])('a %s without an answer loses its connection', async (name) => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  let once = true;
  harness.server.script = (command) => {
    const silent = command.name === name && once;
    if (silent) once = false;
    return silent;
  };
  const asked = harness.server.seen(new RegExp(`^${name}`));
  await harness.watch();
  await asked;
  harness.clock.advance(OPERATION_MS * 1.25);
  const report = await harness.retry(1);
  expect(report.reason).toMatch(/no byte for 60 s/);
  await harness.server.idle();
  expect(harness.intake.published).toHaveLength(1);
});

test('a slow answer is not a silent one: bytes restart the deadline', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  server.deliver('INBOX', mail('one'));
  let tag = '';
  server.script = (command) => {
    if (command.name === 'UID SEARCH' && tag === '') {
      tag = command.tag;
      return true;
    }
    return false;
  };
  const asked = server.seen(/^UID SEARCH/);
  await harness.watch();
  const { session } = await asked;
  for (let minute = 1; minute <= 5; minute++) {
    clock.advance(OPERATION_MS * 0.6);
    // Answered by the client's side of the connection: it has read what was sent before.
    await new Promise<void>((resolve) => {
      session.send('* OK still searching');
      setImmediate(resolve);
    });
    await harness.until(() => true);
  }
  session.send('* SEARCH 1', `${tag} OK done`);
  await server.idle();
  expect(server.connections()).toBe(1);
});

test('a folder that vanishes fails the mailbox until it is back, naming the nearest one', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.createFolder('Invoices');
  server.createFolder('Rechnungen');
  await harness.watch({ mailbox: { account: 'support', folder: 'Rechnungen' } });
  await server.idle();
  server.folders.delete('Rechnungen');
  server.createFolder('Rechnungen2');
  for (const session of server.sessions) session.destroy();
  await harness.retry(1);
  const report = await harness.until(({ state }) => state === 'failing');
  expect(report.reason).toContain('did you mean "Rechnungen2"');
  server.createFolder('Rechnungen');
  harness.clock.advance(15 * 60_000);
  await server.idle();
  expect(harness.report()).toMatchObject({ healthy: true, reason: null });
});

test('wrong credentials are tried ever more rarely, up to a quarter of an hour, with the password read anew', async () => {
  await using harness = await createHarness({ password: 'another' });
  let reads = 0;
  await harness.watch({
    account: {
      credential: async () => {
        reads++;
        return { password: 'wrong' };
      },
    },
  });
  const waits: number[] = [];
  for (let count = 1; count <= 8; count++) {
    await harness.until(() => harness.failures() === count && harness.clock.timers().length === 1);
    waits.push(harness.clock.timers()[0]!);
    await harness.retry(count);
  }
  expect(waits).toEqual([22_500, 37_500, 67_500, 127_500, 247_500, 457_500, 457_500, 457_500]);
  expect(harness.report()).toMatchObject({ state: 'failing', healthy: false });
  expect(reads).toBe(8);
});

test('back-off grows while no connection lasts beyond its sync, and begins anew after one that did', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  const lose = () => {
    for (const session of server.sessions) session.destroy();
  };
  const waits: number[] = [];
  server.script = ({ name, session }) => {
    if (name !== 'UID SEARCH') return false;
    session.destroy();
    return true;
  };
  await harness.watch();
  for (let count = 1; count <= 4; count++) {
    await harness.until(() => harness.failures() === count && clock.timers().length === 1);
    waits.push(clock.timers()[0]!);
    if (count === 4) server.script = undefined;
    await harness.retry(count);
  }
  expect(waits).toEqual([750, 1_250, 2_250, 4_250]);
  await server.idle();
  lose();
  // Its sync was completed, but it was lost at once: a server that does so each time is not stormed.
  await harness.until(() => harness.failures() === 5 && clock.timers().length === 1);
  expect(clock.timers()).toEqual([8_250]);
  await harness.retry(5);
  await server.idle();
  clock.advance(10_000);
  lose();
  await harness.until(() => harness.failures() === 6 && clock.timers().length === 1);
  expect(clock.timers()).toEqual([750]);
});

test('back-off: full jitter between half a second and five minutes', () => {
  expect(backoff(1, 'soon', 0)).toBe(500);
  expect(backoff(1, 'soon', 0.999)).toBeLessThanOrEqual(1_000);
  expect(backoff(4, 'soon', 1)).toBe(8_000);
  expect(backoff(50, 'soon', 1)).toBe(300_000);
  expect(backoff(2000, 'soon', 0.5)).toBeLessThanOrEqual(300_000);
  expect(backoff(50, 'later', 1)).toBe(900_000);
});

test('a password that cannot be had fails the mailbox and is asked for again', async () => {
  await using harness = await createHarness();
  let there = false;
  await harness.watch({
    account: {
      credential: async () => {
        if (!there) throw new MailwatchdError('SECRET_UNAVAILABLE', { where: '/run/secrets/support' });
        return { password: 'secret-pa55word' };
      },
    },
  });
  const report = await harness.until(({ state }) => state === 'failing');
  expect(report.reason).toContain('/run/secrets/support');
  expect(harness.server.connections()).toBe(0);
  there = true;
  await harness.retry(1);
  await harness.server.idle();
});

const noise = [
  '* 99999999999999999999 EXISTS',
  '* SEARCH 0 -1 1e400 18446744073709551616 abc',
  '* 1 FETCH (UID 4294967296 RFC822.SIZE NIL INTERNALDATE "never" FLAGS NIL)',
  '* 1 FETCH (((((((((((((((((((((((',
  '* BAD [ALERT] \u0000\u001b[2J',
  '* LIST (\\Noselect) NIL {3}\r\n\xff\xfe\xfd',
  '+ ready for nothing',
  'A1 OK who asked',
  '* BYE',
];
test.each(
  noise,
)('a server that sends %j everywhere neither ends the process nor loses mail', async (line) => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  let left = 12;
  server.script = ({ session }) => {
    if (left-- > 0) session.send(line);
    return false;
  };
  await harness.watch();
  await harness.survive();
  await harness.until(() => intake.published.length === 1);
});

test('a server that drops us at every FETCH of a body is tried ever more rarely', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  for (let uid = 1; uid <= 8; uid++) server.deliver('INBOX', mail(`m${uid}`));
  server.script = ({ name, rest, session }) => {
    if (name !== 'UID FETCH' || !/BODY/.test(rest)) return false;
    session.destroy();
    return true;
  };
  await harness.watch();
  const waits: number[] = [];
  for (let count = 1; count <= 9; count++) {
    await harness.until(() => harness.failures() === count && clock.timers().length === 1);
    waits.push(clock.timers()[0]!);
    await harness.retry(count);
  }
  // 8, 4, 2 at once is narrower each time; one alone is the same again, and so is the next.
  expect(waits).toEqual([750, 750, 750, 1_250, 2_250, 4_250, 8_250, 16_250, 32_250]);
});

test('a server that drops us after each message is not waited for ever longer', async () => {
  await using harness = await createHarness();
  const { server, clock } = harness;
  for (let uid = 1; uid <= 8; uid++) server.deliver('INBOX', mail(`m${uid}`));
  const served = new Set<number>();
  server.script = ({ name, rest, session }) => {
    if (name !== 'UID FETCH' || !/BODY/.test(rest)) return false;
    if (!served.has(session.number)) {
      const first = session.folder!.messages.find(({ uid }) => uid === Number.parseInt(rest, 10))!;
      session.send(row(session.folder!, first, rest));
      served.add(session.number);
    }
    session.end();
    return true;
  };
  await harness.watch();
  for (let count = 1; count <= 8; count++) {
    await harness.until(() => harness.failures() === count && clock.timers().length === 1);
    expect(clock.timers()).toEqual([750]);
    await harness.retry(count);
  }
  await harness.until(({ stored }) => stored === 8);
});

test('a server that names a wait is left alone for so long, which is no routine; who asks for a try gets one', async () => {
  await using harness = await createHarness();
  const { server, clock, intake } = harness;
  server.deliver('INBOX', mail('one'));
  server.script = ({ name, tag, session }) => {
    if (name !== 'SELECT') return false;
    session.send(`${tag} BAD Request is throttled. Suggested Backoff Time: 300000 milliseconds`);
    return true;
  };
  await harness.watch();
  await harness.until(() => harness.failures() === 1 && clock.timers().length === 1);
  expect(clock.timers()[0]).toBeGreaterThanOrEqual(300_000);
  expect(harness.report()).toMatchObject({ state: 'failing', healthy: false });
  server.script = undefined;
  harness.nudge();
  await harness.until(() => intake.published.length === 1);
});
