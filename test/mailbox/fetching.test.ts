/** Messages that are hard to get: too large, lied about, left out, killing the connection. The rest goes on. */
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import type { Command, ScriptedMessage } from '../servers/scripted.ts';
import { pick, row } from '../servers/scripted.ts';
import { createHarness, mail, RECONCILE_MS } from './harness.ts';

const MIB = 1024 * 1024;
const asksBody = ({ name, rest }: Command) => name === 'UID FETCH' && /BODY\.PEEK\[\]/.test(rest);
const asked = (command: Command): ScriptedMessage[] =>
  pick(command.session.folder!, command.rest.split(' ')[0]!, true);

test('a FETCH that ends the connection stops one message, not those around it', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  for (let uid = 1; uid <= 300; uid++) server.deliver('INBOX', mail(`m${uid}`));
  server.script = (command) => {
    if (!asksBody(command)) return false;
    for (const message of asked(command)) {
      if (message.uid === 150) {
        command.session.destroy();
        return true;
      }
      command.session.send(row(command.session.folder!, message, command.rest));
    }
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  const failures = await harness.survive();
  expect(ledger.states()[150]).toBe('unfetchable');
  expect(intake.published).toHaveLength(299);
  expect(failures).toBeLessThanOrEqual(9);
  // Narrowing is progress, after which no try waits longer than after a first failure; the message alone does,
  // three times.
  expect(harness.clock.monotonic()).toBeLessThanOrEqual((failures - 3) * 1_000 + 1_250 + 2_250 + 4_250);
  expect(harness.report()).toMatchObject({
    state: 'idle',
    healthy: true,
    expected: 300,
    stored: 299,
    missing: 1,
  });

  // It is tried once at each reconciliation by time, not at each reconnect.
  const connections = server.connections();
  harness.clock.advance(RECONCILE_MS);
  await harness.until(({ state }) => state !== 'idle');
  expect(await harness.survive()).toBe(failures + 1);
  expect(server.connections()).toBe(connections + 1);
});

test('a connection that ends when all has come, but before it was confirmed, costs no message', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (const name of ['one', 'two', 'three']) server.deliver('INBOX', mail(name));
  server.script = (command) => {
    if (!asksBody(command)) return false;
    server.script = undefined;
    const folder = command.session.folder!;
    for (const message of asked(command)) command.session.send(row(folder, message, command.rest));
    command.session.end();
    return true;
  };
  await harness.watch();
  expect(await harness.survive()).toBe(1);
  expect(intake.published).toHaveLength(3);
  expect(harness.logged.filter((line) => /INTERNAL|unfetchable/.test(line))).toEqual([]);
});

test('a beginning that is longer than it was asked for is no message unless its size says so', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const sent = mail('one');
  server.deliver('INBOX', sent);
  server.script = (command) => {
    if (!asksBody(command)) return false;
    server.script = undefined;
    command.session.send(`* 1 FETCH (UID 1 BODY[]<0> {40000}\r\n${'x'.repeat(40_000)})`);
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ source }) => source)).toEqual([sent]);
});

test('a beginning that comes once more, late, is not taken for the whole message', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const sent = `${mail('one')}${'x'.repeat(100_000)}`;
  server.deliver('INBOX', sent);
  let late: Buffer | undefined;
  server.script = (command) => {
    if (!asksBody(command)) return false;
    if (/<0\./.test(command.rest)) late = row(command.session.folder!, asked(command)[0]!, command.rest);
    else if (late) command.session.send(late);
    return false;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ source }) => source)).toEqual([sent]);
});

test('a part from the middle is not taken for the beginning', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const sent = `${mail('one')}${'x'.repeat(100_000)}`;
  server.deliver('INBOX', sent);
  server.script = (command) => {
    if (!asksBody(command)) return false;
    server.script = undefined;
    const items = command.rest.replace('<0.32768>', '<50000.40000>');
    command.session.send(row(command.session.folder!, asked(command)[0]!, items));
    return false;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ source }) => source)).toEqual([sent]);
});

test('a message that is told of in two rows keeps its date', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const internalDate = new Date('2001-02-03T04:05:06Z');
  server.deliver('INBOX', mail('one'), { internalDate });
  server.script = (command) => {
    if (!asksBody(command) || !/RFC822/.test(command.rest)) return false;
    const folder = command.session.folder!;
    for (const message of asked(command)) {
      command.session.send(row(folder, message, 'UID FLAGS INTERNALDATE RFC822.SIZE'));
      command.session.send(row(folder, message, command.rest.replace(/FLAGS INTERNALDATE RFC822\.SIZE/, '')));
    }
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published).toMatchObject([{ internalDate: internalDate.getTime() }]);
});

test('a connection that ends each time after the last beginning blocks nothing', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', `${mail('one')}${'x'.repeat(100_000)}`);
  server.script = (command) => {
    if (!asksBody(command) || !/<0\./.test(command.rest)) return false;
    const folder = command.session.folder!;
    for (const message of asked(command)) command.session.send(row(folder, message, command.rest));
    command.session.end();
    return true;
  };
  await harness.watch();
  expect(await harness.survive()).toBe(1);
  expect(intake.published).toHaveLength(1);
});

test('of a server without partial FETCH sizes are asked first', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const bodies: string[] = [];
  server.script = (command) => {
    if (!asksBody(command)) return false;
    bodies.push(command.rest);
    const folder = command.session.folder!;
    for (const message of asked(command))
      command.session.send(row(folder, message, command.rest.replace('<0.32768>', '')));
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  for (const [index, name] of ['one', 'two'].entries()) {
    await server.idle();
    server.deliver('INBOX', `${mail(name)}${'x'.repeat(40_000)}`);
    await harness.until(({ stored }) => stored === index + 1);
  }
  expect(intake.published.map(({ source }) => source.length)).toEqual(
    [0, 1].map(() => mail('one').length + 40_000),
  );
  expect(bodies.map((rest) => rest.includes('<0.'))).toEqual([true, false]);
});

test('a FETCH that the server refuses is asked for in halves, on the same connection', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  for (let uid = 1; uid <= 20; uid++) server.deliver('INBOX', mail(`m${uid}`));
  server.script = (command) => {
    if (!asksBody(command) || !asked(command).some(({ uid }) => uid === 7)) return false;
    command.session.send(`${command.tag} NO [SERVERBUG] cannot read a message`);
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(ledger.states()[7]).toBe('unfetchable');
  expect(intake.published).toHaveLength(19);
  expect(server.connections()).toBe(1);
});

test('metadata that a server leaves out is asked for alone; without it a message is left aside', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  for (const name of ['one', 'two', 'three']) server.deliver('INBOX', mail(name));
  server.script = (command) => {
    if (command.name !== 'UID FETCH' || !/RFC822\.SIZE/.test(command.rest)) return false;
    const several = asked(command).length > 1;
    for (const message of asked(command))
      if (message.uid === 1 || (message.uid === 2 && !several))
        command.session.send(row(command.session.folder!, message, command.rest));
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(ledger.states()).toEqual({ 1: 'published', 2: 'published', 3: 'unfetchable' });
});

test('a message that the server tells nothing of is tried again at a reconciliation, though none came after it', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.script = ({ name, tag, session }) => {
    if (name !== 'UID FETCH') return false;
    session.send(`${tag} OK nothing there`);
    return true;
  };
  await harness.watch();
  await server.idle();
  server.deliver('INBOX', mail('one'));
  await harness.until(() => ledger.states()[1] === 'unfetchable');
  server.script = undefined;
  await harness.idle();
  harness.clock.advance(RECONCILE_MS);
  await harness.until(() => ledger.states()[1] === 'published');
});

test('a message larger than messageBytes is quarantined with its header only', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', `${mail('huge')}${'x'.repeat(2 * MIB)}`);
  server.deliver('INBOX', mail('small'));
  await harness.watch({ limits: { messageBytes: MIB, operationSeconds: 60 } });
  await server.idle();
  expect(ledger.states()).toEqual({ 1: 'quarantined', 2: 'published' });
  const huge = ledger.rows.get(1)!.get(1)!;
  expect(huge.error!.code).toBe('MESSAGE_TOO_LARGE');
  expect(huge.header!.toString()).toBe(mail('huge').replace(/\r\n\r\n.*/s, '\r\n\r\n'));
  expect(harness.report()).toMatchObject({ expected: 2, stored: 2 });
});

test.each([
  ['one FETCH', 3 * MIB],
  ['a download', 9 * MIB],
])('a size that lies does not get %s past messageBytes', async (_, told) => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', `${mail('huge')}${'x'.repeat(12 * MIB)}`, { size: told });
  await harness.watch({ limits: { messageBytes: 10 * MIB, operationSeconds: 60 } });
  await harness.survive();
  expect(readdirSync(dirname(harness.intake.downloadPath(ledger.epochs[0]!, 1)))).toEqual([]);
  expect(ledger.states()).toEqual({ 1: 'quarantined' });
  expect(ledger.rows.get(1)!.get(1)!.error!.code).toBe('MESSAGE_TOO_LARGE');
});

test('sizes that lie cost connections, not memory: everything is published', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 4; uid++)
    server.deliver('INBOX', `${mail(`m${uid}`)}${'x'.repeat(2 * MIB)}`, { size: 10 });
  await harness.watch();
  await harness.survive();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2, 3, 4]);
  expect(server.connections()).toBeGreaterThan(1);
});

test('an announced literal larger than any message ends the connection before its bytes come', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('one'));
  server.script = (command) => {
    if (!asksBody(command)) return false;
    command.session.write(`* 1 FETCH (UID 1 BODY[] {4000000000}\r\nx`);
    return true;
  };
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toContain('LiteralTooLarge');
  await harness.survive();
  expect(ledger.states()).toEqual({ 1: 'unfetchable' });
});

test('a server that answers a partial FETCH with the whole message is understood', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const big = `${mail('big')}${'x'.repeat(5 * MIB)}`;
  server.deliver('INBOX', big);
  server.script = (command) => {
    if (!asksBody(command)) return false;
    command.session.answer({ ...command, rest: command.rest.replace(/<.*>/, '') });
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ source }) => source)).toEqual([big]);
});

test('a server that cuts parts shorter than asked does not make us publish half a message', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const big = `${mail('big')}${'x'.repeat(5 * MIB)}`;
  server.deliver('INBOX', big);
  server.script = (command) => {
    if (!asksBody(command)) return false;
    command.session.answer({ ...command, rest: command.rest.replace('.1048576>', '.700000>') });
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ size }) => size)).toEqual([big.length]);
});

test('a message that is expunged between two of its parts is not published as far as it came', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  server.deliver('INBOX', `${mail('big')}${'x'.repeat(5 * MIB)}`);
  server.deliver('INBOX', mail('after'));
  server.script = (command) => {
    if (!asksBody(command) || !command.rest.includes(`<${2 * MIB}.`)) return false;
    server.expunge('INBOX', 1);
    // As Dovecot 2.3 does.
    command.session.send(
      `* 1 FETCH (UID 1 BODY[]<${2 * MIB}> NIL)`,
      '* 1 EXPUNGE',
      `${command.tag} OK [EXPUNGEISSUED] Some messages were already expunged`,
    );
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual([2]);
  expect(readdirSync(dirname(intake.downloadPath(ledger.epochs[0]!, 1)))).toEqual([]);
});

test('a message that ends before the size that it is said to have is published', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const big = `${mail('big')}${'x'.repeat(5 * MIB)}`;
  const whole = `${big}${'x'.repeat(6 * MIB - big.length)}`;
  server.deliver('INBOX', big, { size: 8 * MIB });
  server.deliver('INBOX', whole, { size: 8 * MIB });
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ size }) => size)).toEqual([big.length, whole.length]);
});

test('rows that nobody asked for, or twice, are dropped', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  server.deliver('INBOX', mail('two'));
  server.script = (command) => {
    if (!asksBody(command)) return false;
    const folder = command.session.folder!;
    command.session.send('* 1 FETCH (FLAGS (\\Seen))', '* 1 FETCH (UID 1 FLAGS (\\Seen))');
    command.session.send(row(folder, { ...folder.messages[0]!, uid: 77 }, command.rest));
    for (const message of [...asked(command), ...asked(command)])
      command.session.send(row(folder, message, command.rest));
    command.session.send(`${command.tag} OK done`);
    return true;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2]);
});

test('one answer with rows in many forms gives each message, in their order', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const date = 'INTERNALDATE " 3-Feb-2001 04:05:06 +0000"';
  const internalDate = Date.UTC(2001, 1, 3, 4, 5, 6);
  for (const name of ['one', 'two', 'three', 'four', 'five']) server.deliver('INBOX', mail(name));
  server.script = ({ name, session, tag }) => {
    if (name !== 'UID FETCH') return false;
    const sized = (source: string) => `RFC822.SIZE ${source.length}`;
    const literal = (source: string) => `{${source.length}}\r\n${source}`;
    session.send(
      `* 1 FETCH (UID 1 FLAGS (\\Seen) ${date} ${sized(mail('one'))} BODY[]<0> ${literal(mail('one'))})`,
      '* 6 EXISTS',
      `* 2 FETCH (BODY[]<0> ${literal(mail('two'))} FLAGS (\\Seen) ${sized(mail('two'))} ${date} UID 2)`,
      `* 3 fetch (uid 3 flags (\\Seen) ${date} ${sized(mail('three'))} body[]<0> ${literal(mail('three'))})`,
      `* 4 FETCH (UID 4 FLAGS (\\Seen) ${date} RFC822.SIZE 4 BODY[]<0> "four")`,
      `* 5 FETCH (UID 5 FLAGS (\\Seen) ${date} ${sized(mail('five'))} MODSEQ (7) BODY[] ${literal(mail('five'))})`,
      `${tag} OK done`,
    );
    return true;
  };
  await harness.watch();
  await server.idle();
  const sources = [mail('one'), mail('two'), mail('three'), 'four', mail('five')];
  const seen = { internalDate, flags: ['\\Seen'] };
  expect(intake.published).toMatchObject(
    sources.map((source, index) => ({ uid: index + 1, source, ...seen })),
  );
});

test('at most 256 messages are in flight, however fast the server is', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 700; uid++) server.deliver('INBOX', mail(`m${uid}`));
  const gates: (() => void)[] = [];
  const full = Promise.withResolvers<void>();
  intake.gate = () =>
    new Promise((resolve) => {
      gates.push(resolve);
      if (gates.length === 256) full.resolve();
    });
  await harness.watch();
  await full.promise;
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(gates).toHaveLength(256);
  intake.gate = null;
  for (const open of gates) open();
  await server.idle();
  expect(intake.mostWorking).toBe(256);
  expect(intake.published).toHaveLength(700);
});

test('bytes are reserved before they are fetched', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 5; uid++) server.deliver('INBOX', `${mail(`m${uid}`)}${'x'.repeat(1.5 * MIB)}`);
  server.script = (command) => {
    if (asksBody(command)) {
      const reserved = intake.reserved.reduce((sum, { bytes }) => sum + bytes, 0);
      const bodies = server.commands.filter((each) => /BODY\.PEEK\[\]/.test(each)).length;
      expect(intake.reserved).toHaveLength(bodies);
      // Of the first 32 KiB of each, then of the whole.
      expect(reserved).toBeGreaterThanOrEqual(5 * 32 * 1024 + (bodies - 1) * 1.5 * MIB);
    }
    return false;
  };
  await harness.watch();
  await server.idle();
  expect(intake.published).toHaveLength(5);
  expect(intake.reserved.map(({ bytes }) => Math.round(bytes / MIB))).toEqual([0, 3, 3, 2]);
});

test('a small message does not wait for the bytes of large ones', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const release = await intake.reserve(64 * MIB, {
    alone: false,
    byFile: true,
    signal: new AbortController().signal,
  });
  server.deliver('INBOX', mail('small'));
  server.deliver('INBOX', `${mail('large')}${'x'.repeat(4.5 * MIB)}`);
  await harness.watch();
  await harness.until(() => intake.published.length === 1);
  expect(intake.published.map(({ file }) => file)).toEqual([false]);
  release();
  await server.idle();
  expect(intake.published.map(({ file }) => file)).toEqual([false, true]);
});

test('a message in flight while its connection is lost is not fetched a second time', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (const name of ['one', 'two']) server.deliver('INBOX', mail(name));
  const gate = Promise.withResolvers<void>();
  intake.gate = () => gate.promise;
  server.script = (command) => {
    if (!asksBody(command)) return false;
    server.script = undefined;
    const folder = command.session.folder!;
    command.session.end(row(folder, folder.messages[0]!, command.rest).toString());
    return true;
  };
  await harness.watch();
  await harness.until(() => server.sessions.size === 0 && intake.working.length === 1);
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  expect(harness.failures()).toBe(0);
  gate.resolve();
  await harness.survive();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2]);
  expect(harness.logged.filter((line) => /holding|twice/.test(line))).toEqual([]);
});
