/** More folders than connections where the server has NOTIFY (RFC 5465): a push saves waiting, and is never relied on. */
import { expect, test } from 'vitest';
import type { Command, Script } from '../servers/scripted.ts';
import { IDLE_RENEW_MS, mail, POLL_MS } from './harness.ts';
import { CAPABILITIES, count, forbids, NAMES, onTheWire, share } from './share.ts';

const NOTIFY = [...CAPABILITIES, 'NOTIFY'];
const LOOK_MS = POLL_MS / 2;
/** Longer than a folder rests between two pushes, shorter than until the next look. */
const MOMENT_MS = 2_000;
const PLAIN = ['INBOX', 'Orders', 'Bills', 'say "hello"', 'Old'];
const PERSONAL = 'NOTIFY SET (personal (MessageNew MessageExpunge))';

/** With a listener, and the first folder in IDLE where there is more than one connection. */
async function listening(names: string[], connections: number, options: Parameters<typeof share>[2] = {}) {
  const rig = await share(names, connections, { capabilities: NOTIFY, ...options });
  const { server } = rig;
  await rig.until(() => [...server.sessions].some(({ listensTo }) => listensTo(onTheWire(names.at(-1)!))));
  if (connections > 1 && server.capabilities.includes('IDLE')) await server.idle();
  await turns();
  rig.clock.advance(MOMENT_MS);
  server.commands.length = 0;
  return { ...rig, [Symbol.asyncDispose]: () => rig[Symbol.asyncDispose]() };
}

/** Turns of the event loop in which something could happen. */
async function turns(number = 50): Promise<void> {
  for (let turn = 0; turn < number; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('what is pushed is fetched at once, of every folder, and looks go on', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  for (const name of NAMES) {
    server.deliver(onTheWire(name), mail(name));
    await rig.until(() => rig.published(name).length === 1);
    await rig.quiet();
    expect(rig.report(name).lastPushAt).toBe(clock.now());
  }
  expect(server.connections()).toBe(2);
  expect(count(server.commands, /^SELECT/)).toBe(4);
  server.commands.length = 0;
  for (let look = 0; look < 16; look++) {
    clock.advance(LOOK_MS);
    await rig.looked();
  }
  expect(count(server.commands, /^STATUS/)).toBe(16 * 4);
  expect(NAMES.map((name) => rig.report(name).worstDelay)).toEqual([0, 0, 0, 0, 0]);
  expect(count(server.commands, /^(NOTIFY|SELECT)/)).toBe(0);
  await rig.stop();
});

test('one connection for all folders listens, also while it works and after it', async () => {
  await using rig = await listening(['INBOX', 'Old'], 1);
  const { server, clock } = rig;
  let order = 0;
  const at = { inbox: 0, last: 0 };
  rig.intake('INBOX').gate = async () => {
    at.inbox = ++order;
  };
  rig.intake('Old').gate = async ({ uid }) => {
    clock.advance(100);
    // The one is pushed, of the other one nothing is: its folder is open.
    if (uid === 30) server.deliver('INBOX', mail('new'));
    if (uid === 400) server.deliver('Old', mail('while it was open'));
    at.last = ++order;
  };
  for (let index = 0; index < 399; index++)
    server.folders.get('Old')!.messages.push({
      uid: index + 1,
      source: Buffer.from(`${mail(`old ${index}`)}${'x'.repeat(100_000)}`),
      internalDate: new Date(0),
      flags: new Set(),
    });
  server.folders.get('Old')!.uidNext = 400;
  server.deliver('Old', mail('old 399'));
  await rig.until(() => rig.published('Old').length === 401 && rig.published('INBOX').length === 1);
  expect(at.last).toBe(402);
  expect(new Set(rig.published('Old')).size).toBe(401);
  expect(server.connections()).toBe(1);
  await rig.stop();
});

test('a server that pushes no more, and does when it is told again, is told at the look that finds it out', async () => {
  await using rig = await listening(NAMES, 2, {
    script: ({ name, rest }) => {
      if (name === 'NOTIFY' && rest === 'NONE') rig.server.pushes = true;
      return undefined;
    },
  });
  const { server, clock } = rig;
  server.pushes = false;
  server.deliver('Bills', mail('one'));
  clock.advance(LOOK_MS);
  await rig.until(() => count(server.commands, /^NOTIFY SET/) === 1);
  await rig.until(() => rig.published('Bills').length === 1);
  await rig.quiet();
  await turns();
  clock.advance(MOMENT_MS);
  server.deliver('Old', mail('two'));
  await rig.until(() => rig.published('Old').length === 1);
  await rig.stop();
});

test('status tells a folder that is pushed for from one that only looks tell of', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  const looks = async (number: number) => {
    for (let look = 0; look < number; look++) {
      clock.advance(LOOK_MS);
      await rig.looked();
    }
  };
  // The first one remains the busiest, and in IDLE.
  for (const text of ['one', 'two', 'three']) server.deliver('INBOX', mail(text));
  await rig.until(() => rig.published('INBOX').length === 3);
  for (const name of ['Bills', 'Old']) {
    server.deliver(name, mail('one'));
    await rig.until(() => rig.published(name).length === 1);
    await rig.quiet();
  }
  await looks(17);
  const delays = () => ['Orders', 'Bills', 'Geschäft', 'Old'].map((name) => rig.report(name).worstDelay);
  expect(delays()).toEqual([LOOK_MS, 0, LOOK_MS, 0]);
  server.pushes = false;
  server.deliver('Bills', mail('two'));
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Bills').length === 2);
  await rig.quiet();
  await looks(1);
  expect(delays()).toEqual([LOOK_MS, LOOK_MS, LOOK_MS, 0]);
  await looks(17);
  expect(delays()).toEqual([LOOK_MS, LOOK_MS, LOOK_MS, 0]);
  server.pushes = true;
  server.deliver('Bills', mail('three'));
  await rig.until(() => rig.published('Bills').length === 3);
  await rig.quiet();
  await looks(17);
  expect(delays()).toEqual([LOOK_MS, 0, LOOK_MS, 0]);
  await rig.stop();
});

const refusing =
  (pattern: RegExp, answer: string): Script =>
  ({ name, rest, tag, session }) => {
    if (name !== 'NOTIFY' || !pattern.test(rest)) return undefined;
    session.send(`${tag} ${answer}`);
    return true;
  };

test('a server that takes fewer names is asked for all of the personal ones', async () => {
  const script = refusing(/mailboxes/, 'NO [NOTIFICATIONOVERFLOW] Too many mailbox names');
  await using rig = await listening(PLAIN, 2, { script });
  const { server } = rig;
  server.createFolder('Stranger');
  server.deliver('Stranger', mail('not watched'));
  server.deliver('Old', mail('one'));
  await rig.until(() => rig.published('Old').length === 1);
  await rig.quiet();
  expect(server.commands.filter((line) => line.startsWith('SELECT'))).toEqual(['SELECT Old']);
  await rig.stop();
});

test.each([
  [
    'by its name',
    PLAIN,
    'NOTIFY SET (mailboxes ("INBOX" "Orders" "Bills" "say \\"hello\\"" "Old") (MessageNew MessageExpunge))',
  ],
  ['among all, where a name has other letters', NAMES, PERSONAL],
])('each folder is asked for %s', async (_, names, command) => {
  await using rig = await share(names, 2, { capabilities: NOTIFY });
  const { server } = rig;
  await rig.until(() => count(server.commands, /^NOTIFY/) === 1);
  expect(server.commands.filter((line) => line.startsWith('NOTIFY'))).toEqual([command]);
  await rig.quiet();
  await rig.stop();
});

test.each(['Gesch&AOQ-ft', 'Geschäft'])('a folder is known by %s', async (name) => {
  await using rig = await listening(NAMES, 2);
  const { server } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  server.pushes = false;
  server.deliver('Gesch&AOQ-ft', mail('one'));
  const bytes = Buffer.from(name);
  listener!.send(
    `* STATUS {${bytes.length}}`,
    Buffer.concat([bytes, Buffer.from(' (MESSAGES 1 UIDNEXT 2)')]),
  );
  await rig.until(() => rig.published('Geschäft').length === 1);
  await rig.stop();
});

test('of two folders that a push may mean both are opened', async () => {
  const twin = 'Gesch&AOQ-ft';
  await using rig = await listening(['INBOX', twin, 'Geschäft', 'Old'], 2);
  const { server } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  server.pushes = false;
  server.deliver('Gesch&-AOQ-ft', mail('one'));
  server.deliver('Gesch&AOQ-ft', mail('one'));
  listener!.send('* STATUS "Gesch&AOQ-ft" (MESSAGES 1 UIDNEXT 2)');
  await rig.until(() => rig.published(twin).length === 1 && rig.published('Geschäft').length === 1);
  await rig.stop();
});

test('more than a hundred folders are never named', async () => {
  const names = ['INBOX', ...Array.from({ length: 100 }, (_, index) => `folder ${index}`)];
  await using rig = await share(names, 2, { capabilities: [...NOTIFY, 'LIST-STATUS'] });
  const { server, clock } = rig;
  await rig.until(() => count(server.commands, /^NOTIFY/) === 1);
  expect(server.commands).toContain(PERSONAL);
  await server.idle();
  await turns();
  clock.advance(MOMENT_MS);
  server.deliver('folder 99', mail('one'));
  await rig.until(() => rig.published('folder 99').length === 1);
  await rig.stop();
});

test.each([
  'NO [NOTIFICATIONOVERFLOW] not for you',
  'BAD what?',
])('a server that answers %s is not asked again for an hour, and looked at as ever', async (answer) => {
  await using rig = await share(PLAIN, 2, { capabilities: NOTIFY, script: refusing(/SET/, answer) });
  const { server, clock } = rig;
  await rig.until(() => rig.report('INBOX').state === 'idle');
  for (let look = 0; look < 10; look++) {
    clock.advance(LOOK_MS);
    await rig.looked();
  }
  expect(count(server.commands, /^NOTIFY/)).toBe(2);
  expect(server.connections()).toBe(2);
  server.deliver('Old', mail('one'));
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Old').length === 1);
  await rig.quiet();
  expect(rig.report('Old').worstDelay).toBe(LOOK_MS);
  await rig.stop();
});

test.each([
  ['at NOTIFY', ({ session }: Command) => session.destroy()],
  [
    'once it accepted NOTIFY',
    (command: Command) => {
      command.session.answer(command);
      command.session.end('* BYE that was too much');
    },
  ],
])('a server that ends the connection %s is not asked again for an hour', async (_, ending) => {
  await using rig = await share(NAMES, 2, {
    capabilities: NOTIFY,
    script(command) {
      if (command.name !== 'NOTIFY') return undefined;
      ending(command);
      return true;
    },
  });
  const { server, clock } = rig;
  await rig.until(() => count(server.commands, /^NOTIFY/) === 1);
  for (let look = 0; look < 10; look++) {
    await turns();
    clock.advance(LOOK_MS);
    await rig.looked();
  }
  expect(count(server.commands, /^NOTIFY/)).toBe(1);
  expect(server.connections()).toBe(3);
  expect(NAMES.every((name) => rig.report(name).healthy)).toBe(true);
  await rig.stop();
});

test('a connection on which the server told of no NOTIFY is not asked for it, though a later one has it', async () => {
  await using rig = await share(NAMES, 2);
  const { server, clock } = rig;
  await rig.quiet();
  await server.idle();
  server.capabilities = NOTIFY;
  let held: Command | undefined;
  server.script = (command) => {
    if (command.name !== 'STATUS') return undefined;
    server.script = undefined;
    held = command;
    return true;
  };
  // While the older one is busy, the first folder gets the later one, and keeps it.
  clock.advance(LOOK_MS);
  await rig.until(() => held !== undefined);
  for (const session of server.sessions) if (session.idling) session.destroy();
  await rig.until(() => server.sessions.size === 1);
  const idle = server.idle();
  while (server.connections() < 3) {
    await turns();
    clock.advance(1_000);
  }
  await idle;
  held!.session.answer(held!);
  await turns();
  clock.advance(LOOK_MS);
  await rig.looked();
  expect(count(server.commands, /^NOTIFY/)).toBe(0);
  await rig.stop();
});

test('without UNSELECT nothing would be pushed of the folder that is open: then there is no NOTIFY', async () => {
  await using rig = await share(NAMES, 2, { capabilities: ['IDLE', 'NOTIFY'] });
  await rig.quiet();
  rig.clock.advance(LOOK_MS);
  await rig.looked();
  expect(count(rig.server.commands, /^NOTIFY/)).toBe(0);
  await rig.stop();
});

test.each([
  ['with IDLE', NOTIFY],
  ['without IDLE', NOTIFY.filter((capability) => capability !== 'IDLE')],
])('a server %s that takes its promise back is asked again at the next look, from nothing', async (_, capabilities) => {
  await using rig = await listening(NAMES, 2, { capabilities });
  const { server, clock } = rig;
  const overflow = () => {
    for (const session of server.sessions)
      if (session.listensTo('Old')) session.send('* OK [NOTIFICATIONOVERFLOW] too much');
  };
  for (let time = 1; time <= 3; time++) {
    overflow();
    await turns();
    expect(count(server.commands, /^NOTIFY/)).toBe(2 * (time - 1));
    clock.advance(LOOK_MS);
    await rig.until(() => count(server.commands, /^NOTIFY/) === 2 * time);
    await rig.looked();
  }
  expect(
    server.commands.filter((line) => line.startsWith('NOTIFY')).map((line) => line.slice(7, 11)),
  ).toEqual(['NONE', 'SET ', 'NONE', 'SET ', 'NONE', 'SET ']);
  expect(server.connections()).toBe(2);
  server.deliver('Old', mail('one'));
  await rig.until(() => rig.published('Old').length === 1);
  await rig.stop();
});

test('a connection that listened waits in IDLE no more, also where it listens no longer', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  for (const session of server.sessions) if (session !== listener) session.destroy();
  listener!.send('* OK [NOTIFICATIONOVERFLOW] too much');
  await turns();
  clock.advance(MOMENT_MS);
  await rig.until(() => server.connections() === 3);
  clock.advance(LOOK_MS);
  await rig.until(() => rig.report('INBOX').state === 'idle');
  expect(listener!.idling).toBe(false);
  await rig.stop();
});

test('a listener that is cut is replaced at the next look', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  for (const session of server.sessions) if (session.listensTo('Old')) session.destroy();
  await turns();
  server.deliver('Old', mail('one'));
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Old').length === 1);
  await rig.until(() => count(server.commands, /^NOTIFY SET/) === 1);
  await rig.quiet();
  clock.advance(MOMENT_MS);
  server.deliver('Old', mail('two'));
  await rig.until(() => rig.published('Old').length === 2);
  expect(server.connections()).toBe(3);
  await rig.stop();
});

test('a listener that is cut after a while is replaced at once', async () => {
  await using rig = await listening(NAMES, 2, { pollEvery: 10 * IDLE_RENEW_MS });
  const { server, clock } = rig;
  clock.advance(IDLE_RENEW_MS);
  await rig.until(() => count(server.commands, /^STATUS/) === 4);
  await turns();
  for (const session of server.sessions) if (session.listensTo('Old')) session.destroy();
  server.pushes = false;
  server.deliver('Old', mail('one'));
  await rig.until(() => rig.published('Old').length === 1);
  expect(count(server.commands, /^NOTIFY SET/)).toBe(1);
  for (const session of server.sessions) if (session.listensTo('Old')) session.destroy();
  await turns();
  expect(count(server.commands, /^NOTIFY SET/)).toBe(1);
  await rig.stop();
});

test('where looks are seldom the listener is looked at as often as IDLE is renewed', async () => {
  await using rig = await listening(NAMES, 1, { pollEvery: 10 * IDLE_RENEW_MS });
  const { server, clock } = rig;
  for (const session of server.sessions) session.destroy();
  await turns();
  server.deliver('Old', mail('one'));
  clock.advance(IDLE_RENEW_MS);
  await rig.until(() => rig.published('Old').length === 1);
  await rig.stop();
});

test('a folder that appears later is named as well', async () => {
  await using rig = await listening(PLAIN, 2, {
    script: forbids('Bills'),
  });
  const { server, clock } = rig;
  server.script = undefined;
  rig.watchers.get('Bills')!.nudge();
  await rig.until(() => rig.report('Bills').healthy && rig.report('Bills').state === 'polling');
  clock.advance(LOOK_MS);
  await rig.until(() => count(server.commands, /^NOTIFY SET .*Bills/) === 1);
  await rig.quiet();
  clock.advance(MOMENT_MS);
  server.deliver('Bills', mail('one'));
  await rig.until(() => rig.published('Bills').length === 1);
  await rig.stop();
});

test('pushes without end cost a connection, and the others go on', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  let uidNext = 1_000;
  for (const session of server.sessions)
    if (session.listensTo('Old')) session.pour(() => `* STATUS "Old" (MESSAGES 0 UIDNEXT ${uidNext++})\r\n`);
  await rig.until(() => server.sessions.size < 2);
  expect(uidNext).toBeLessThan(1_000_000);
  server.deliver('INBOX', mail('one'));
  await rig.until(() => rig.published('INBOX').length === 1);
  server.deliver('Bills', mail('two'));
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Bills').length === 1);
  expect(NAMES.every((name) => rig.report(name).healthy)).toBe(true);
  await rig.stop();
});

test.each([
  ['UIDNEXT', 'Old', '(UIDNEXT 99 MESSAGES 0)'],
  ['MESSAGES', 'Old', '(UIDNEXT 1 MESSAGES 7)'],
  ['UIDVALIDITY', 'Old', '(UIDVALIDITY 7)'],
  ['nonsense', 'Old', '(UIDNEXT x MESSAGES -)'],
])('a server that lies about %s opens a folder more and more seldom, down to its looks', async (_what, name, items) => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  for (let second = 0; second < 600; second++) {
    clock.advance(1_000);
    listener!.send(`* STATUS ${name} ${items}`);
    await turns(5);
  }
  expect(count(server.commands, /^SELECT Old/)).toBeGreaterThan(5);
  expect(count(server.commands, /^SELECT Old/)).toBeLessThan(600 / (LOOK_MS / 1_000) + 8);
  expect(count(server.commands, /^SELECT/)).toBe(count(server.commands, /^SELECT Old/));
  server.deliver('Old', mail('one'));
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Old').length === 1);
  await rig.stop();
});

test.each([
  ['true', 1],
  ['a lie', 0],
])('a push that overtakes the answer to SELECT opens the folder once more, be it %s', async (_, more) => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  server.script = (command) => {
    if (command.name !== 'SELECT') return undefined;
    server.script = undefined;
    listener!.send('* STATUS Old (MESSAGES 2 UIDNEXT 3)');
    void turns().then(() => command.session.answer(command));
    return true;
  };
  server.deliver('Old', mail('one'));
  await rig.until(() => rig.published('Old').length === 1);
  await rig.quiet();
  server.pushes = false;
  if (more > 0) server.deliver('Old', mail('two'));
  for (let second = 0; second < 10; second++) {
    clock.advance(1_000);
    await turns();
  }
  expect(rig.published('Old').length).toBe(1 + more);
  expect(count(server.commands, /^SELECT/)).toBe(2);
  await rig.stop();
});

test('a look that finds nothing refutes what was pushed before', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  const lie = () => listener!.send('* STATUS Old (MESSAGES 0 UIDNEXT 99)');
  for (let opened = 1; opened <= 5; opened++) {
    lie();
    await turns();
    while (count(server.commands, /^SELECT/) < opened) {
      clock.advance(1_000);
      await turns();
    }
  }
  lie();
  await turns();
  clock.advance(LOOK_MS - 1_000);
  await turns();
  clock.advance(LOOK_MS);
  await turns();
  expect(count(server.commands, /^SELECT/)).toBe(5);
  await rig.stop();
});

test('true pushes open a folder at most once a second', async () => {
  await using rig = await listening(NAMES, 2);
  const { server, clock } = rig;
  for (let turn = 0; turn < 100; turn++) {
    server.deliver('Old', mail(`${turn}`));
    clock.advance(100);
    await turns(20);
  }
  clock.advance(1_000);
  await rig.until(() => rig.published('Old').length === 100);
  expect(count(server.commands, /^SELECT Old/)).toBeLessThanOrEqual(12);
  await rig.stop();
});

test('status tells how long a push had to wait', async () => {
  await using rig = await listening(NAMES, 1);
  const { server, clock } = rig;
  server.deliver('Old', mail('one'));
  await rig.until(() => rig.published('Old').length === 1);
  await rig.quiet();
  server.deliver('Old', mail('two'));
  await turns();
  clock.advance(1_000);
  await rig.until(() => rig.published('Old').length === 2);
  await rig.quiet();
  clock.advance(LOOK_MS);
  await rig.looked();
  expect(rig.report('Old').worstDelay).toBe(1_000);
  await rig.stop();
});

test('pushes of folders that nobody asked for, or that say nothing new, open nothing', async () => {
  await using rig = await listening(NAMES, 2);
  const { server } = rig;
  const [listener] = [...server.sessions].filter((session) => session.listensTo('Old'));
  listener!.send(
    '* STATUS Else (UIDNEXT 99 MESSAGES 3)',
    '* STATUS old (UIDNEXT 99 MESSAGES 3)',
    '* STATUS Old (UIDNEXT 1 MESSAGES 0)',
    '* STATUS Old (UNSEEN 4)',
    '* STATUS Old',
    '* STATUS',
    '* STATUS (Old) Old',
  );
  await turns();
  expect(server.commands).toEqual([]);
  await rig.stop();
});

test.each([
  ['STATUS', NOTIFY],
  ['LIST', [...NOTIFY, 'LIST-STATUS']],
])('what is pushed while %s is answered is no answer of it, and no push is lost', async (name, capabilities) => {
  await using rig = await listening(NAMES, 2, { capabilities });
  const { server, clock } = rig;
  server.script = ({ name: asked, rest, tag, session }: Command) => {
    if (asked !== name) return undefined;
    server.script = undefined;
    const folders = [...server.folders.keys()].filter((folder) => rest.includes(`"${folder}"`));
    server.pushes = false;
    server.deliver('Gesch&AOQ-ft', mail('one'));
    session.send(
      ...folders.map((folder) => `* STATUS "${folder}" (MESSAGES 0 UIDNEXT 1 UIDVALIDITY 1700000000)`),
      '* STATUS "Gesch&AOQ-ft" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY 1700000000)',
      `${tag} OK done`,
    );
    return true;
  };
  clock.advance(LOOK_MS);
  await rig.until(() => rig.published('Geschäft').length === 1);
  await rig.quiet();
  expect(count(server.commands, /^SELECT/)).toBe(1);
  await rig.stop();
});

test('what comes between the first opening of a folder and NOTIFY is looked for', async () => {
  await using rig = await share(NAMES, 2, {
    capabilities: NOTIFY,
    script: ({ name }) => {
      if (name !== 'NOTIFY') return undefined;
      rig.server.deliver('Orders', mail('one'));
      return undefined;
    },
  });
  await rig.until(() => rig.published('Orders').length === 1);
  expect(rig.clock.monotonic()).toBe(0);
  await rig.stop();
});

test('where folders are looked at seldom, a look at the renewal of IDLE asks about them once', async () => {
  await using rig = await listening(NAMES, 2, { pollEvery: 60 * POLL_MS });
  const { server, clock } = rig;
  for (let look = 1; look <= 2; look++) {
    clock.advance(IDLE_RENEW_MS);
    await rig.until(() => count(server.commands, /^STATUS/) >= 4 * look);
    await turns();
    if (count(server.commands, /^STATUS/) !== 4 * look)
      console.log(server.commands, clock.monotonic(), rig.logged.slice(-12));
    expect(count(server.commands, /^STATUS/)).toBe(4 * look);
  }
  await rig.stop();
});
