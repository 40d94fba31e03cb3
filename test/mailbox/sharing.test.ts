/** More folders than connections, on a scripted server: none starves, none disturbs the others, and few connections do. */
import { expect, test } from 'vitest';
import { mail, PASSWORD, POLL_MS } from './harness.ts';
import { CAPABILITIES, count, forbids, NAMES, onTheWire, share } from './share.ts';

const HOUR = 3_600_000;

test('two connections serve five folders: the first waits in IDLE, the rest are asked about in turn', async () => {
  await using rig = await share(NAMES, 2);
  const { server, clock } = rig;
  await rig.quiet();
  expect(rig.states()).toEqual(['idle', 'polling', 'polling', 'polling', 'polling']);
  expect(server.connections()).toBe(2);
  expect(rig.report('INBOX').worstDelay).toBe(0);

  server.commands.length = 0;
  clock.advance(POLL_MS / 2);
  await rig.looked();
  expect(count(server.commands, /^STATUS/)).toBe(4);
  expect(count(server.commands, /^SELECT/)).toBe(0);

  server.deliver('Bills', mail('one'));
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.published('Bills').length === 1);
  await rig.quiet();
  expect(count(server.commands, /^SELECT/)).toBe(1);
  expect(server.connections()).toBe(2);
  for (const name of NAMES.slice(1)) expect(rig.report(name).worstDelay).toBeLessThanOrEqual(POLL_MS);

  server.deliver('INBOX', mail('two'));
  await rig.until(() => rig.published('INBOX').length === 1);
  await rig.stop();
  expect(count(server.commands, /^LOGOUT/)).toBe(2);
});

test('a server with LIST-STATUS is asked about all of them by one command', async () => {
  await using rig = await share(NAMES, 2, { capabilities: [...CAPABILITIES, 'LIST-STATUS'] });
  const { server, clock } = rig;
  await rig.quiet();
  server.commands.length = 0;
  server.deliver('Old', mail('one'));
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.published('Old').length === 1);
  await rig.looked();
  expect(count(server.commands, /^STATUS/)).toBe(0);
  expect(count(server.commands, /^LIST .* RETURN \(STATUS/)).toBe(1);
  await rig.stop();
});

test('one connection is enough, also without IDLE, UNSELECT and UIDNEXT', async () => {
  await using rig = await share(NAMES, 1, { capabilities: [] });
  const { server, clock } = rig;
  for (const folder of server.folders.values()) folder.uidNext = null;
  await rig.quiet();
  for (const name of NAMES) {
    server.deliver(onTheWire(name), mail(name));
    clock.advance(POLL_MS);
    await rig.until(() => rig.published(name).length === 1);
    await rig.quiet();
  }
  expect(server.connections()).toBe(1);
  await rig.stop();
});

test('a folder that became much busier takes the place in IDLE', async () => {
  await using rig = await share(NAMES, 2);
  const { server, clock } = rig;
  await rig.quiet();
  for (let turn = 0; turn < 4; turn++) {
    clock.advance(POLL_MS / 2);
    await rig.looked();
  }
  server.deliver('Old', mail('one'));
  server.deliver('Old', mail('two'));
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.published('Old').length === 2);
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.report('Old').state === 'idle' && rig.report('INBOX').state === 'polling');
  expect(server.connections()).toBe(2);
  while (rig.report('INBOX').worstDelay === 0) {
    clock.advance(POLL_MS / 2);
    await rig.looked();
  }
  expect(rig.report('INBOX').worstDelay).toBeLessThanOrEqual(POLL_MS / 2);
  await rig.stop();
});

test('a server that bears fewer connections gets no more, is warned of once, and is asked again after an hour', async () => {
  await using rig = await share(NAMES, 4, {
    script: ({ name, tag, session }) => {
      if (name !== 'LOGIN' || server().sessions.size <= 2) return undefined;
      session.end(`${tag} NO [LIMIT] Too many simultaneous connections`);
      return true;
    },
  });
  function server() {
    return rig.server;
  }
  await rig.quiet();
  rig.clock.advance(POLL_MS / 2);
  await rig.until(() => rig.states().filter((state) => state === 'idle').length === 1);
  const refusals = () => rig.logged.filter((line) => line.startsWith('warn connections_limited'));
  expect(refusals()).toHaveLength(1);
  expect(NAMES.every((name) => rig.report(name).healthy)).toBe(true);
  const before = rig.server.connections();
  for (let turn = 0; turn < 4; turn++) {
    rig.clock.advance(POLL_MS / 2);
    await rig.looked();
  }
  expect(rig.server.connections()).toBe(before);

  rig.server.script = undefined;
  for (let turn = 0; turn <= HOUR / POLL_MS; turn++) {
    rig.clock.advance(POLL_MS / 2);
    await rig.looked();
    rig.clock.advance(POLL_MS / 2);
    await rig.looked();
  }
  await rig.until(() => rig.states().filter((state) => state === 'idle').length === 3);
  expect(refusals()).toHaveLength(1);
  await rig.stop();
});

test('a folder that is missing disturbs no other one, and takes no connection while it waits', async () => {
  await using rig = await share(NAMES, 2, {
    script: forbids('Bills'),
  });
  const { server, clock } = rig;
  await rig.until(() => NAMES.every((name) => name === 'Bills' || rig.report(name).state !== 'connecting'));
  await rig.until(() => rig.logged.some((line) => line.includes('not for you')));
  server.deliver('Old', mail('one'));
  clock.advance(POLL_MS);
  await rig.until(() => rig.published('Old').length === 1);
  expect(server.connections()).toBe(2);
  server.script = undefined;
  server.deliver('Bills', mail('two'));
  rig.watchers.get('Bills')!.nudge();
  await rig.until(() => rig.published('Bills').length === 1);
  await rig.stop();
});

test('after a cut few connections are tried, however many folders there are, and all folders come back', async () => {
  const names = ['INBOX', ...Array.from({ length: 60 }, (_, index) => `folder ${index}`)];
  await using rig = await share(names, 3);
  const { server, clock } = rig;
  await rig.quiet();
  const before = server.connections();
  server.accept = (socket) => {
    socket.destroy();
    return true;
  };
  for (const session of server.sessions) session.destroy();
  for (let turn = 0; turn < 40; turn++) {
    clock.advance(POLL_MS / 2);
    for (let wait = 0; wait < 50; wait++) await new Promise((resolve) => setImmediate(resolve));
  }
  expect(rig.report('folder 7')).toMatchObject({ state: 'failing', healthy: false });
  // 20 minutes, at most 5 minutes apart at the end.
  expect(server.connectedAt.length - before).toBeLessThan(25);

  server.accept = undefined;
  server.deliver('folder 7', mail('one'));
  rig.watchers.get('INBOX')!.nudge();
  await rig.until(() => names.every((name) => rig.report(name).healthy));
  expect(rig.published('folder 7')).toEqual([1]);
  expect(server.sessions.size).toBeLessThanOrEqual(3);
  await rig.stop();
});

test('connections that are cut together are one trouble: they are back within a second', async () => {
  const names = ['INBOX', ...Array.from({ length: 12 }, (_, index) => `folder ${index}`)];
  await using rig = await share(names, 8);
  const { server, clock } = rig;
  const idle = () => rig.states().filter((state) => state === 'idle').length;
  await rig.quiet();
  while (idle() < 7) {
    clock.advance(POLL_MS / 2);
    await rig.looked();
  }
  for (const session of server.sessions) session.destroy();
  await rig.until(() => rig.logged.filter((line) => line.includes('connection_lost')).length === 7);
  clock.advance(1_000);
  await rig.until(() => server.sessions.size > 0);
  await rig.stop();
});

test('a password that was changed is tried as seldom while older connections go on', async () => {
  await using rig = await share(NAMES, 4);
  const { server, clock } = rig;
  await rig.quiet();
  clock.advance(POLL_MS / 2);
  await rig.looked();
  server.password = 'another one';
  for (const session of server.sessions) if (session.number > 1) session.destroy();
  server.commands.length = 0;
  for (let turn = 0; turn < (2 * HOUR) / POLL_MS; turn++) {
    server.deliver('Old', mail(`${turn}`));
    clock.advance(POLL_MS / 2);
    await rig.until(() => rig.published('Old').length === turn + 1);
    for (let wait = 0; wait < 20; wait++) await new Promise((resolve) => setImmediate(resolve));
  }
  // At most 15 minutes apart in the end.
  expect(count(server.commands, /^LOGIN/)).toBeGreaterThan(2);
  expect(count(server.commands, /^LOGIN/)).toBeLessThan(12);
  server.password = PASSWORD;
  await rig.stop();
});

test('a connection on which LIST is refused is ended before another one is tried', async () => {
  await using rig = await share(NAMES, 2, {
    script: ({ name, tag, session }) => {
      if (name !== 'LIST' || session.number > 3) return undefined;
      session.send(`${tag} NO [SERVERBUG] not now`);
      return true;
    },
  });
  const failures = () => count(rig.logged, /connection_lost|mailbox_failing/);
  for (let turn = 1; turn <= 3; turn++) {
    await rig.until(() => failures() === turn * NAMES.length);
    await rig.until(() => rig.server.sessions.size === 0);
    rig.clock.advance(10_000);
  }
  await rig.quiet();
  await rig.stop();
});

test('a server on which looking takes longer than the time between two looks starves no folder that has mail', async () => {
  const names = ['INBOX', ...Array.from({ length: 30 }, (_, index) => `folder ${index}`)];
  await using rig = await share(names, 1);
  const { server, clock } = rig;
  await rig.quiet();
  server.script = ({ name }) => {
    if (name === 'STATUS') clock.advance(POLL_MS / 20);
    return undefined;
  };
  server.deliver('folder 7', mail('one'));
  server.deliver('folder 23', mail('two'));
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.published('folder 7').length === 1 && rig.published('folder 23').length === 1);
  // A look at all of them takes one and a half POLL_MS.
  expect(clock.monotonic()).toBeLessThan(4 * POLL_MS);
  expect(server.connections()).toBe(1);
  server.script = undefined;
  await rig.stop();
});

test('back-fill gives way to new mail elsewhere, and goes on where it was', async () => {
  await using rig = await share(['INBOX', 'Old'], 1);
  const { server, clock } = rig;
  const large = 'x'.repeat(100_000);
  for (let index = 0; index < 400; index++) server.deliver('Old', `${mail(`old ${index}`)}${large}`);
  let order = 0;
  const at = { inbox: 0, last: 0 };
  rig.intake('INBOX').gate = async () => {
    at.inbox = ++order;
  };
  rig.intake('Old').gate = async ({ uid }) => {
    clock.advance(100);
    if (uid === 30) server.deliver('INBOX', mail('new'));
    if (uid === 30) clock.advance(POLL_MS / 2);
    at.last = ++order;
  };
  await rig.until(() => rig.published('Old').length === 400 && rig.published('INBOX').length === 1);
  expect(at.inbox).toBeLessThan(300);
  expect(at.last).toBe(401);
  expect(new Set(rig.published('Old')).size).toBe(400);
  await rig.until(() => rig.report('Old').missing === 0);
  expect(server.connections()).toBe(1);
  await rig.stop();
});

test('once: each folder is caught up in turn', async () => {
  const names = ['INBOX', ...Array.from({ length: 20 }, (_, index) => `folder ${index}`)];
  await using rig = await share(names, 2, { mode: 'once' });
  for (const name of names) rig.server.deliver(name, mail(name));
  await Promise.all([...rig.watchers.values()].map(({ done }) => done));
  for (const name of names) expect(rig.published(name)).toEqual([1]);
  expect(rig.server.connections()).toBeLessThanOrEqual(2);
  await rig.until(() => rig.server.sessions.size === 0);
});

test('a connection that ends in the middle of a look is replaced, and nobody is told', async () => {
  await using rig = await share(NAMES, 2);
  const { server, clock } = rig;
  await rig.quiet();
  server.script = ({ name, session }) => {
    if (name !== 'STATUS') return undefined;
    session.destroy();
    server.script = undefined;
    return true;
  };
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.logged.some((line) => line.startsWith('debug look_failed')));
  clock.advance(1_000);
  await rig.until(() => server.connections() === 3);
  await rig.quiet();
  expect(NAMES.every((name) => rig.report(name).healthy)).toBe(true);
  expect(rig.logged.filter((line) => line.startsWith('warn'))).toEqual([]);
  await rig.stop();
});

test('a folder that keeps its connection gives it to nobody while it works', async () => {
  await using rig = await share(['INBOX', 'Bills', 'Old'], 2);
  const { server, clock } = rig;
  await rig.quiet();
  expect(rig.report('INBOX').state).toBe('idle');
  server.commands.length = 0;
  const caughtUp = Promise.withResolvers<void>();
  rig.intake('Bills').gate = () => caughtUp.promise;
  server.deliver('Bills', mail('one'));
  clock.advance(POLL_MS / 2);
  await rig.until(() => rig.intake('Bills').working.length === 1);
  // Bills has the other connection, a look at Old is due, and INBOX works for longer than any turn lasts.
  rig.intake('INBOX').gate = async () => clock.advance(200);
  const large = 'x'.repeat(100_000);
  for (let index = 0; index < 300; index++) server.deliver('INBOX', `${mail(`${index}`)}${large}`);
  await rig.until(() => rig.published('INBOX').length === 300);
  expect(count(server.commands, /^SELECT INBOX/)).toBe(0);
  caughtUp.resolve();
  await rig.quiet();
  await rig.stop();
});

test('a limit is warned of again once all connections were there in between', async () => {
  let most = 2;
  await using rig = await share(NAMES, 3, {
    script: ({ name, tag, session }) => {
      if (name !== 'LOGIN' || rig.server.sessions.size <= most) return undefined;
      session.end(`${tag} NO [LIMIT] Too many simultaneous connections`);
      return true;
    },
  });
  const { server, clock } = rig;
  const warnings = () => count(rig.logged, /^warn connections_limited/);
  const hours = async (more: number) => {
    for (let turn = 0; turn < (2 * more * HOUR) / POLL_MS; turn++) {
      clock.advance(POLL_MS / 2);
      for (let wait = 0; wait < 20; wait++) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await rig.quiet();
  await hours(3);
  expect(warnings()).toBe(1);
  expect(server.connections()).toBeGreaterThan(4);
  most = 3;
  await hours(2);
  expect(server.sessions.size).toBe(3);
  most = 2;
  for (const session of server.sessions) if (session.number > 1) session.destroy();
  await hours(1);
  expect(warnings()).toBe(2);
  await rig.stop();
});
