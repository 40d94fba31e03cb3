/** The sixteen rules of speaking IMAP (docs/reliability.md), each against a server that behaves as described. */
import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { expect, test } from 'vitest';
import { createHarness, IDLE_RENEW_MS, mail, OPERATION_MS, POLL_MS, RECONCILE_MS } from './harness.ts';

const uids = (harness: { intake: { published: { uid: number }[] } }) =>
  harness.intake.published.map(({ uid }) => uid);

test('rule 1: a connection reset while idle is an event, not the end of the process', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  await harness.watch();
  await harness.server.idle();
  for (const session of harness.server.sessions) session.destroy();
  await harness.retry(1);
  await harness.server.idle();
  expect(harness.server.connections()).toBe(2);
  expect(uids(harness)).toEqual([1]);
});

test.each(['FIN', 'BYE'])('rule 2: %s while idle leads to a new connection', async (how) => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  const [session] = harness.server.sessions;
  if (how === 'FIN') session!.end();
  else session!.end('* BYE restarting, try again later');
  const report = await harness.retry(1);
  expect(report.reason).toContain(how === 'FIN' ? 'connection' : 'restarting');
  await harness.server.idle();
  harness.server.deliver('INBOX', mail('after'));
  await harness.until(({ stored }) => stored === 1);
  await harness.idle();
  expect(harness.logged.filter((line) => line.startsWith('info recovered'))).toHaveLength(1);
});

test('rule 3: a half-open IDLE is noticed within idleRenewEvery + operationSeconds', async () => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  // From now on the server is as a peer whose packets no longer arrive: it hears all and says nothing.
  harness.server.script = () => true;
  const done = harness.server.seen(/^DONE/);
  harness.clock.advance(IDLE_RENEW_MS);
  await done;
  // A quarter more: the `+` to IDLE may count as heard after the deadline began, since no time has passed.
  harness.clock.advance(OPERATION_MS * 1.25);
  harness.server.script = undefined;
  const report = await harness.retry(1);
  expect(report.reason).toContain('no byte for 60 s');
  await harness.server.idle();
  expect(harness.server.connections()).toBe(2);
});

test('rule 3: a live IDLE is renewed, and nothing else happens', async () => {
  await using harness = await createHarness();
  let changes = 0;
  await harness.watch({ onReport: () => changes++ });
  await harness.server.idle();
  const commands = harness.server.commands.length;
  const again = harness.server.seen(/^IDLE/);
  const { since, lastHeardAt } = harness.report();
  changes = 0;
  harness.clock.advance(IDLE_RENEW_MS);
  await again;
  expect(harness.server.commands.slice(commands)).toEqual(['DONE', 'UID SEARCH UID 1:*', 'IDLE']);
  expect(changes).toBe(0);
  expect(harness.report()).toMatchObject({ state: 'idle', since, lastHeardAt: lastHeardAt! + IDLE_RENEW_MS });
  expect(harness.logged.filter((line) => !line.startsWith('debug'))).toHaveLength(1);
});

test('rule 4: IDLE begins at once, without a timer', async () => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  expect(harness.clock.now()).toBe(Date.UTC(2026, 10, 20, 12));
});

test('rule 5: an arrival is found although EXISTS ends at the same number', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  await harness.watch();
  await harness.server.idle();
  const folder = harness.server.folders.get('INBOX')!;
  folder.messages = [];
  folder.uidNext = 9;
  for (const session of harness.server.sessions) session.send('* 1 EXPUNGE');
  harness.server.deliver('INBOX', mail('nine'));
  await harness.until(({ stored }) => stored === 2);
  expect(uids(harness)).toEqual([1, 9]);
});

test('rule 5: mail that was never announced is found when IDLE is renewed', async () => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  for (const session of harness.server.sessions) session.idling = false;
  harness.server.deliver('INBOX', mail('silent'));
  harness.clock.advance(IDLE_RENEW_MS);
  await harness.until(({ stored }) => stored === 1);
});

test('rule 5: mail that arrives between SEARCH and IDLE is not forgotten', async () => {
  await using harness = await createHarness();
  await harness.watch();
  await harness.server.idle();
  let late = true;
  harness.server.script = (command) => {
    if (command.name !== 'UID SEARCH' || !late) return false;
    late = false;
    command.session.answer(command);
    harness.server.deliver('INBOX', mail('late'));
    command.session.send('* 1 EXISTS');
    return true;
  };
  harness.clock.advance(IDLE_RENEW_MS);
  await harness.until(({ stored }) => stored === 1);
});

test('rule 5: a UID that SEARCH lists but is not there does not hide the mail that comes below it', async () => {
  await using harness = await createHarness();
  const { server } = harness;
  server.script = ({ name, tag, session }) => {
    if (name !== 'UID SEARCH') return false;
    const found = session.folder!.messages.map(({ uid }) => uid);
    session.send(`* SEARCH ${[...found, 4_000_000_000].join(' ')}`, `${tag} OK found`);
    return true;
  };
  server.deliver('INBOX', mail('one'));
  await harness.watch();
  await server.idle();
  // Once more, now that it is known as one that cannot be fetched.
  const again = server.seen(/^IDLE/);
  harness.clock.advance(IDLE_RENEW_MS);
  await again;
  server.script = undefined;
  server.deliver('INBOX', mail('two'));
  await harness.until(({ stored }) => stored === 2);
  expect(uids(harness)).toEqual([1, 2]);
  expect(server.connections()).toBe(1);
});

test('rule 6: the last message, named by `n:*` past the end, is not fetched again', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  await harness.watch();
  await harness.server.idle();
  const again = harness.server.seen(/^IDLE/);
  harness.clock.advance(IDLE_RENEW_MS);
  await again;
  expect(harness.server.commands.at(-2)).toBe('UID SEARCH UID 2:*');
  expect(harness.server.commands.filter((command) => /BODY/.test(command))).toHaveLength(1);
  expect(uids(harness)).toEqual([1]);
});

test('rule 7: a message that takes long to store does not stop the FETCH it came with', async () => {
  await using harness = await createHarness();
  for (const name of ['one', 'two', 'three']) harness.server.deliver('INBOX', mail(name));
  const gate = Promise.withResolvers<void>();
  const all = Promise.withResolvers<void>();
  harness.intake.gate = () => {
    if (harness.intake.working.length === 3) all.resolve();
    return gate.promise;
  };
  await harness.watch();
  await all.promise;
  expect(harness.intake.published).toEqual([]);
  gate.resolve();
  await harness.server.idle();
  expect(uids(harness)).toEqual([1, 2, 3]);
});

test('rule 8: a row that the server leaves out is asked for again, alone', async () => {
  await using harness = await createHarness();
  for (const name of ['one', 'two', 'three']) harness.server.deliver('INBOX', mail(name));
  let left = 1;
  harness.server.script = (command) => {
    if (command.name !== 'UID FETCH' || !/BODY\.PEEK\[\]/.test(command.rest) || left-- <= 0) return false;
    command.session.answer({ ...command, rest: command.rest.replace('1:3', '1,3') });
    return true;
  };
  await harness.watch();
  await harness.server.idle();
  expect(uids(harness)).toEqual([1, 3, 2]);
  expect(harness.report()).toMatchObject({ expected: 3, missing: 0 });
});

test('rule 8: what a server always leaves out is unfetchable, and the rest goes on', async () => {
  await using harness = await createHarness();
  for (const name of ['one', 'two', 'three']) harness.server.deliver('INBOX', mail(name));
  harness.server.script = (command) => {
    if (command.name !== 'UID FETCH' || !/BODY\.PEEK\[\]/.test(command.rest)) return false;
    const folder = command.session.folder!;
    const messages = folder.messages;
    folder.messages = messages.map((message) => (message.uid === 2 ? { ...message, uid: 999 } : message));
    command.session.answer(command);
    folder.messages = messages;
    return true;
  };
  await harness.watch();
  await harness.server.idle();
  expect(harness.ledger.states()).toEqual({ 1: 'published', 2: 'unfetchable', 3: 'published' });
  expect(harness.report()).toMatchObject({ expected: 3, stored: 2, missing: 1 });
  const alone = harness.server.commands.filter((command) => /^UID FETCH 2 .*BODY/.test(command));
  expect(alone).toHaveLength(3);

  // Once it can be had, the next reconciliation by time fetches it.
  harness.server.script = undefined;
  harness.clock.advance(RECONCILE_MS);
  await harness.until(({ stored }) => stored === 3);
  expect(harness.ledger.states()[2]).toBe('published');
});

test('rule 8: messages expunged under the FETCH are gone, not missing', async () => {
  await using harness = await createHarness();
  for (const name of ['one', 'two', 'three']) harness.server.deliver('INBOX', mail(name));
  harness.server.script = (command) => {
    if (command.name !== 'UID FETCH' || !/BODY\.PEEK\[\]/.test(command.rest)) return false;
    command.session.folder!.messages.splice(1, 1);
    command.session.answer({ ...command, tag: '*' });
    command.session.send(`${command.tag} NO Some of the requested messages no longer exist`);
    return true;
  };
  await harness.watch();
  await harness.server.idle();
  expect(uids(harness)).toEqual([1, 3]);
  expect(harness.report()).toMatchObject({ expected: 2, stored: 2, missing: 0, healthy: true });
  expect(harness.ledger.epochs[0]!.scannedThrough).toBe(3);
});

test('rule 9: a refused SEARCH is a failure, not an empty folder', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  let refuse = true;
  harness.server.script = ({ name, tag, session }) => {
    if (name !== 'UID SEARCH' || !refuse) return false;
    refuse = false;
    session.send(`${tag} NO [SERVERBUG] index is broken`);
    return true;
  };
  await harness.watch();
  const report = await harness.retry(1);
  expect(report.reason).toContain('index is broken');
  await harness.until(({ stored }) => stored === 1);
  expect(harness.ledger.epochs[0]!.scannedThrough).toBe(1);
});

test('rule 10: never one FETCH a message: small ones come with their metadata, 128 at once', async () => {
  await using harness = await createHarness();
  for (let number = 1; number <= 300; number++) harness.server.deliver('INBOX', mail(`m${number}`));
  await harness.watch({ account: { start: { kind: 'all' } } });
  await harness.server.idle();
  expect(uids(harness)).toEqual(Array.from({ length: 300 }, (_, index) => index + 1));
  expect(harness.server.commands.filter((command) => command.startsWith('UID FETCH'))).toEqual([
    'UID FETCH 1:128 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
    'UID FETCH 129:256 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
    'UID FETCH 257:300 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
  ]);
  expect(harness.intake.mostWorking).toBeLessThanOrEqual(256);
});

test('rule 10: of larger ones sizes first, then ranges, until there are small ones again', async () => {
  await using harness = await createHarness();
  const larger = 'x'.repeat(32 * 1024);
  for (let uid = 1; uid <= 800; uid++)
    harness.server.deliver('INBOX', `${mail(`m${uid}`)}${uid <= 200 ? larger : ''}`);
  await harness.watch({ account: { start: { kind: 'all' } } });
  await harness.server.idle();
  expect(uids(harness)).toEqual(Array.from({ length: 800 }, (_, index) => index + 1));
  expect(harness.server.commands.filter((command) => command.startsWith('UID FETCH'))).toEqual([
    'UID FETCH 1:128 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
    'UID FETCH 1:127 (UID BODY.PEEK[])',
    'UID FETCH 128 (UID BODY.PEEK[])',
    'UID FETCH 129:640 (UID FLAGS INTERNALDATE RFC822.SIZE)',
    'UID FETCH 129:384 (UID BODY.PEEK[])',
    'UID FETCH 385:640 (UID BODY.PEEK[])',
    'UID FETCH 641:768 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
    'UID FETCH 769:800 (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[]<0.32768>)',
  ]);
});

test('rule 11: a large message comes in pieces of 1 MiB, into a file', async () => {
  await using harness = await createHarness();
  const big = `${mail('big')}${'x'.repeat(4.5 * 1024 * 1024)}`;
  harness.server.deliver('INBOX', mail('small'));
  harness.server.deliver('INBOX', big);
  await harness.watch();
  await harness.server.idle();
  expect(harness.intake.published.map(({ uid, size, file }) => ({ uid, size, file }))).toEqual([
    { uid: 1, size: mail('small').length, file: false },
    { uid: 2, size: big.length, file: true },
  ]);
  expect(harness.intake.published[1]!.source).toBe(big);
  const parts = harness.server.commands.filter((command) => /^UID FETCH 2 .*BODY/.test(command));
  expect(parts).toHaveLength(5);
  expect(parts[1]).toContain('BODY.PEEK[]<1048576.1048576>');
  expect(readdirSync(dirname(harness.intake.downloadPath(harness.ledger.epochs[0]!, 2)))).toEqual([]);
});

test('rule 12: a UIDVALIDITY that changes under the connection is noticed at the next reconciliation', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  await harness.watch();
  await harness.server.idle();
  harness.server.folders.get('INBOX')!.uidValidity = 1_800_000_000;
  const again = harness.server.seen(/^IDLE/);
  harness.clock.advance(RECONCILE_MS);
  await harness.until(() => harness.ledger.epochs.length === 2);
  await again;
  expect(harness.server.connections()).toBe(1);
  expect(harness.ledger.states()).toEqual({ 1: 'carried' });
  expect(uids(harness)).toEqual([1]);
});

test('rule 13: a UIDVALIDITY beyond 32 bits is taken as it is', async () => {
  await using harness = await createHarness();
  harness.server.folders.get('INBOX')!.uidValidity = 9_007_199_254_740_991;
  await harness.watch();
  await harness.server.idle();
  expect(harness.ledger.epochs[0]!.uidValidity).toBe('9007199254740991');
});

test('rule 13: without a UIDVALIDITY nothing is fetched: no message could be told from another', async () => {
  await using harness = await createHarness();
  harness.server.deliver('INBOX', mail('one'));
  harness.server.script = ({ name, tag, session }) => {
    if (name !== 'SELECT') return false;
    session.send('* 1 EXISTS', `${tag} OK done`);
    return true;
  };
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toContain('told no UIDVALIDITY');
  expect(harness.ledger.epochs).toEqual([]);
});

test('rule 13: UIDNEXT going backwards begins a new epoch, and nothing is published twice', async () => {
  await using harness = await createHarness();
  for (const name of ['one', 'two', 'three']) harness.server.deliver('INBOX', mail(name));
  await harness.watch();
  await harness.server.idle();
  // The server was restored from a backup of before `three`, and something else arrived since.
  const folder = harness.server.folders.get('INBOX')!;
  folder.messages.length = 2;
  folder.uidNext = 3;
  harness.clock.advance(RECONCILE_MS);
  await harness.until(() => harness.ledger.epochs.length === 2);
  await harness.idle();
  await harness.server.idle();
  harness.server.deliver('INBOX', mail('another three'));
  await harness.until(() => harness.intake.published.length === 4);
  expect(harness.intake.published.map(({ uid, epoch }) => `${epoch}/${uid}`)).toEqual([
    '1700000000/1',
    '1700000000/2',
    '1700000000/3',
    '1700000000.1/3',
  ]);
});

test.each([
  ['NO [AUTHENTICATIONFAILED] Authentication failed.', /support|refused|Authentication failed/, 'failing'],
  ['NO [UNAVAILABLE] Temporary authentication failure.', /login refused for now/, 'connecting'],
  ['NO [LIMIT] Too many simultaneous connections.', /login refused for now/, 'connecting'],
  ['NO [INUSE] Mailbox in use', /login refused for now/, 'connecting'],
])('rule 14: login answered with %s', async (answer, reason, state) => {
  await using harness = await createHarness({
    script: ({ name, tag, session }) => {
      if (name !== 'LOGIN') return false;
      session.send(`${tag} ${answer}`);
      return true;
    },
  });
  await harness.watch();
  const report = await harness.until((each) => each.reason !== null);
  expect(report.reason).toMatch(reason);
  expect(report.state).toBe(state);
  expect(report.healthy).toBe(state !== 'failing');
});

test('rule 14: a BYE or a silence instead of the answer to LOGIN is not about the password', async () => {
  await using harness = await createHarness();
  harness.server.script = ({ name, session }) => {
    if (name !== 'LOGIN') return false;
    session.end('* BYE Too many connections from your IP');
    return true;
  };
  await harness.watch();
  const bye = await harness.retry(1);
  expect(bye).toMatchObject({ state: 'connecting', healthy: true });
  expect(bye.reason).toContain('Too many connections');

  harness.server.script = ({ name }) => name === 'LOGIN';
  await harness.server.seen(/^LOGIN/);
  harness.clock.advance(OPERATION_MS);
  const silent = await harness.retry(2);
  expect(silent.reason).toContain('no login within 60 s');
});

test('rule 15: where STARTTLS was stripped no password is sent', async () => {
  await using harness = await createHarness({ security: 'starttls' });
  harness.server.script = ({ name, tag, session }) => {
    if (name !== 'CAPABILITY') return false;
    session.send('* CAPABILITY IMAP4rev1 IDLE', `${tag} OK done`);
    return true;
  };
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report).toMatchObject({ state: 'failing', healthy: false });
  expect(report.reason).toContain('STARTTLS');
  expect(harness.server.commands.filter((command) => /LOGIN|AUTH/.test(command))).toEqual([]);
});

test('rule 15: a PREAUTH greeting does not talk us out of STARTTLS', async () => {
  await using harness = await createHarness({ security: 'starttls', greeting: '* PREAUTH welcome' });
  await harness.watch();
  const report = await harness.until(({ reason }) => reason !== null);
  expect(report.reason).toContain('STARTTLS');
  expect(harness.server.commands.filter((command) => /SELECT/.test(command))).toEqual([]);
});

test('rule 16: flags are set after publishing, by UID; a refusal is retried and publishes nothing again', async () => {
  await using harness = await createHarness();
  harness.ledger.owesAfterActions = true;
  let refuse = true;
  harness.server.script = (command) => {
    if (command.name !== 'UID STORE') return false;
    expect(uids(harness)).toContain(1);
    if (refuse) command.session.send(`${command.tag} NO not now`);
    else command.session.answer(command);
    refuse = false;
    return true;
  };
  harness.server.deliver('INBOX', mail('one'));
  await harness.watch({ account: { after: { seen: true, move: null, delete: false } } });
  await harness.server.idle();
  expect(harness.report()).toMatchObject({ healthy: false, stored: 1 });
  expect(harness.report().reason).toContain('not now');

  harness.clock.advance(IDLE_RENEW_MS);
  await harness.until(({ healthy }) => healthy);
  expect(harness.server.folders.get('INBOX')!.messages[0]!.flags).toContain('\\Seen');
  expect(uids(harness)).toEqual([1]);
  expect(harness.server.commands.filter((command) => /^STORE/.test(command))).toEqual([]);
});

test('without IDLE the server is polled', async () => {
  await using harness = await createHarness({ capabilities: [] });
  await harness.watch();
  await harness.until(({ state }) => state === 'polling');
  harness.server.deliver('INBOX', mail('polled'));
  harness.clock.advance(POLL_MS);
  await harness.until(({ stored }) => stored === 1);
  expect(harness.server.commands).toContain('NOOP');
});

test('a server that refuses IDLE, or ends it at once, is polled', async () => {
  await using harness = await createHarness();
  harness.server.script = ({ name, tag, session }) => {
    if (name !== 'IDLE') return false;
    session.send(`${tag} NO not for you`);
    return true;
  };
  await harness.watch();
  await harness.until(({ state }) => state === 'polling');
  harness.server.deliver('INBOX', mail('polled'));
  harness.clock.advance(POLL_MS);
  await harness.until(({ stored }) => stored === 1);
  expect(harness.server.commands.filter((command) => command === 'IDLE')).toHaveLength(1);
});
