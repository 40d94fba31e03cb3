/** Rules while fetching: what of a message is asked for, what is left out, and that accounts without rules pay nothing. */
import { expect, test } from 'vitest';
import type { Filter, Rule } from '../../src/filter.ts';
import { rule } from '../rules.ts';
import { pick, row } from '../servers/scripted.ts';
import { createHarness, type Harness, mail } from './harness.ts';

const without = (...except: Rule[]): Filter => ({ only: [], except });
const news = rule('news', { subject: { contains: 'news' } });

const fetches = ({ server }: Harness) => server.commands.filter((line) => line.startsWith('UID FETCH'));
const uids = ({ intake }: Harness) => intake.published.map(({ uid }) => uid).toSorted((a, b) => a - b);
const big = (subject: string, size = 50_000) => mail(subject) + `${'x'.repeat(70)}\r\n`.repeat(size / 72);

test('an account without rules asks the server for the same as one whose rules ask for metadata only', async () => {
  const asked: string[][] = [];
  for (const filter of [null, without(rule('large', { largerThan: 1_000_000 }))]) {
    await using harness = await createHarness();
    for (let uid = 1; uid <= 20; uid++) harness.server.deliver('INBOX', mail(`m${uid}`));
    harness.server.deliver('INBOX', big('m21'));
    await harness.watch({ account: { filter } });
    await harness.idle();
    expect(uids(harness)).toHaveLength(21);
    asked.push(harness.server.commands);
  }
  expect(asked[0]).toEqual(asked[1]);
});

test('a header is judged before the rest is fetched, in one FETCH for all', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (const subject of ['news 1', 'a', 'news 2', 'b']) server.deliver('INBOX', big(subject));
  server.deliver('INBOX', mail('news, small'));
  await harness.watch({ account: { filter: without(news) } });
  const report = await harness.idle();
  expect(uids(harness)).toEqual([2, 4]);
  expect(intake.filtered.map(({ uid, rule }) => [uid, rule]).toSorted()).toEqual([
    [1, 'news'],
    [3, 'news'],
    [5, 'news'],
  ]);
  expect(report).toMatchObject({ expected: 5, stored: 5, missing: 0, healthy: true });
  expect(fetches(harness)).toEqual([
    expect.stringMatching(/^UID FETCH 1:5 .*BODY\.PEEK\[\]<0\.16384>/),
    expect.stringMatching(/^UID FETCH 2,4 .*BODY\.PEEK\[\]\)/),
  ]);
  // Neither asked for again nor judged again.
  harness.nudge();
  await harness.until(({ state }) => state !== 'idle');
  await harness.idle();
  expect(fetches(harness)).toHaveLength(2);
  expect(intake.filtered).toHaveLength(3);
});

test('with a start by date, metadata decides first, then the headers of those that are large', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  const at = Date.UTC(2026, 10, 1);
  const subjects = ['news', 'a', 'b'];
  for (const subject of subjects) server.deliver('INBOX', big(subject));
  server.deliver('INBOX', big('c', 200_000));
  server.deliver('INBOX', mail('news, small'));
  const filter = without(news, rule('large', { largerThan: 150_000 }));
  await harness.watch({ account: { filter, start: { kind: 'date', at } } });
  await harness.idle();
  expect(uids(harness)).toEqual([2, 3]);
  expect(intake.filtered.toSorted((a, b) => a.uid - b.uid)).toEqual([
    { uid: 1, rule: 'news' },
    { uid: 4, rule: 'large' },
    { uid: 5, rule: 'news' },
  ]);
  expect(fetches(harness)).toEqual([
    expect.stringMatching(/^UID FETCH 1:5 .*RFC822\.SIZE.*HEADER\.FIELDS \(MESSAGE-ID\)/i),
    expect.stringMatching(/^UID FETCH 1:3 .*BODY\.PEEK\[\]<0\.16384>/),
    expect.stringMatching(/^UID FETCH 2:3,5 .*BODY\.PEEK\[\]\)/),
  ]);
});

test.each([
  { kind: 'all' } as const,
  { kind: 'date', at: Date.UTC(2026, 10, 1) } as const,
])('one that is too large is not quarantined where a rule leaves it out, start %o', async (start) => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  server.deliver('INBOX', big('news'));
  server.deliver('INBOX', big('other'));
  const limits = { messageBytes: 40_000, operationSeconds: 60 };
  await harness.watch({ account: { filter: without(news), start }, limits });
  await harness.idle();
  expect(ledger.states()).toEqual({ 1: 'filtered', 2: 'quarantined' });
  expect(intake.filtered).toEqual([{ uid: 1, rule: 'news' }]);
});

test('a message whose size the server does not tell is neither too large nor too small', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', big('a'));
  server.script = ({ name, rest, tag, session }) => {
    if (name !== 'UID FETCH' || !rest.includes('RFC822.SIZE')) return false;
    const [set = ''] = rest.split(' ');
    const folder = session.folder!;
    for (const message of pick(folder, set, true))
      session.send(row(folder, message, rest.replace('RFC822.SIZE', '')));
    session.send(`${tag} OK done`);
    return true;
  };
  const filter = without(rule('large', { largerThan: 1_000_000 }), rule('small', { smallerThan: 10 }));
  await harness.watch({ account: { filter } });
  await harness.idle();
  expect(intake.filtered).toEqual([]);
  expect(uids(harness)).toEqual([1]);
});

test('what only the body decides is fetched', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', big('a'));
  const filter = { only: [rule('files', { attachment: true })], except: [] };
  await harness.watch({ account: { filter } });
  await harness.idle();
  expect(intake.filtered).toEqual([{ uid: 1, rule: 'no rule of only' }]);
  expect(fetches(harness)).toHaveLength(2);
});

test('a server that refuses the headers gives the messages, which are judged then', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', big('news'));
  server.deliver('INBOX', big('a'));
  server.script = ({ name, rest, tag, session }) => {
    if (name !== 'UID FETCH' || !rest.includes('<0.')) return false;
    session.send(`${tag} NO not today`);
    return true;
  };
  const at = Date.UTC(2026, 10, 1);
  await harness.watch({ account: { filter: without(news), start: { kind: 'date', at } } });
  await harness.idle();
  expect(uids(harness)).toEqual([2]);
  expect(intake.filtered).toEqual([{ uid: 1, rule: 'news' }]);
});

test.each([
  ['before any has come', false],
  ['when all have come', true],
])('where the FETCH of headers ends the connection %s, the messages are fetched, and none is to blame', async (_, comes) => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', big('news'));
  server.deliver('INBOX', big('a'));
  server.script = ({ name, rest, session }) => {
    if (name !== 'UID FETCH' || !rest.includes('<0.')) return false;
    const [set = ''] = rest.split(' ');
    const folder = session.folder!;
    if (comes) for (const message of pick(folder, set, true)) session.send(row(folder, message, rest));
    session.end();
    return true;
  };
  const at = Date.UTC(2026, 10, 1);
  await harness.watch({ account: { filter: without(news), start: { kind: 'date', at } } });
  expect(await harness.survive()).toBe(1);
  expect(uids(harness)).toEqual([2]);
  expect(intake.filtered).toEqual([{ uid: 1, rule: 'news' }]);
});

test('a suspect is judged alone, with all of it', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  for (const subject of ['news', 'a']) server.deliver('INBOX', big(subject));
  ledger.suspects = true;
  await harness.watch({ account: { filter: without(news) } });
  await harness.idle();
  expect(ledger.alone).toEqual([1, 2]);
  expect(intake.filtered).toEqual([{ uid: 1, rule: 'news' }]);
  expect(fetches(harness).filter((line) => line.includes('<0.'))).toEqual([]);
});

test('what is to be judged anew is fetched, judged by the present rules, or told to be gone', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  for (const subject of ['news', 'offer', 'news, gone']) server.deliver('INBOX', big(subject));
  await harness.watch({
    account: { filter: without(news, rule('offers', { subject: { contains: 'offer' } })) },
  });
  await harness.idle();
  expect(intake.filtered).toHaveLength(3);
  await harness.stop();

  server.folders.get('INBOX')!.messages.pop();
  for (const uid of [1, 2, 3]) ledger.toJudge.add(uid);
  await harness.watch({ account: { filter: without(news) } });
  const report = await harness.idle();
  expect(uids(harness)).toEqual([2]);
  expect(intake.filtered.slice(3)).toEqual([{ uid: 1, rule: 'news' }]);
  expect(ledger.gone).toEqual([3]);
  expect(harness.logged).toContain('warn filtered_gone {"count":1,"uids":"3"}');
  expect(ledger.toJudge.size).toBe(0);
  expect(report).toMatchObject({ expected: 2, stored: 2, missing: 0 });
});

test('what is to be judged anew, but lies before the start, is not waited for', async () => {
  await using harness = await createHarness();
  const { server, intake, ledger } = harness;
  const at = Date.UTC(2026, 10, 10);
  for (const day of [1, 20])
    server.deliver('INBOX', mail('news'), { internalDate: new Date(Date.UTC(2026, 10, day)) });
  await harness.watch({ account: { filter: without(news) } });
  await harness.idle();
  await harness.stop();

  ledger.epochs[0]!.start = { kind: 'date', at };
  for (const uid of [1, 2]) ledger.toJudge.add(uid);
  await harness.watch({ account: { filter: null } });
  await harness.idle();
  expect(uids(harness)).toEqual([2]);
  expect(intake.filtered).toHaveLength(2);
  expect(ledger.gone).toEqual([1]);
  expect(ledger.toJudge.size).toBe(0);
});

test('what is to be judged anew is not taken for known because an earlier epoch knew it', async () => {
  await using harness = await createHarness();
  const { server, ledger } = harness;
  server.deliver('INBOX', mail('a'));
  await harness.watch();
  await harness.idle();
  await harness.stop();
  server.folders.get('INBOX')!.uidValidity++;
  harness.clock.advance(86_400_000);
  await harness.watch();
  await harness.idle();
  await harness.stop();
  expect(ledger.states()).toEqual({ 1: 'carried' });

  ledger.toJudge.add(1);
  await harness.watch({ account: { filter: without(rule('a', { subject: { contains: 'a' } })) } });
  await harness.idle();
  expect(ledger.states()).toEqual({ 1: 'filtered' });
});

test('a server that answers partial requests with whole messages is not asked for the headers again', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 4; uid++) server.deliver('INBOX', big(uid % 2 === 0 ? 'news' : 'a'));
  server.script = ({ name, rest, tag, session }) => {
    if (name !== 'UID FETCH' || !rest.includes('<0.')) return false;
    const [set = ''] = rest.split(' ');
    const folder = session.folder!;
    const whole = rest.replace(/<0\.\d+>/, '');
    for (const message of pick(folder, set, true)) session.send(row(folder, message, whole));
    session.send(`${tag} OK done`);
    return true;
  };
  const start = { kind: 'date', at: Date.UTC(2026, 10, 1) } as const;
  await harness.watch({ account: { filter: without(news), start } });
  await server.idle();
  expect(uids(harness)).toEqual([1, 3]);
  expect(intake.filtered.map(({ rule }) => rule)).toEqual(['news', 'news']);
  server.deliver('INBOX', big('a'));
  await harness.until(({ stored }) => stored === 5);
  expect(fetches(harness).filter((line) => line.includes('<0.'))).toHaveLength(1);
});
