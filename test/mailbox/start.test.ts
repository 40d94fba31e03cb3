/** What a start asks for: new, all, a date; new mail before back-fill; suspects after an unclean end. */
import { expect, test } from 'vitest';
import type { Start } from '../../src/model.ts';
import type { Command } from '../servers/scripted.ts';
import { createHarness, mail, RECONCILE_MS } from './harness.ts';

const day = (date: string) => new Date(`${date}T00:00:00Z`);
const asksBody = ({ name, rest }: Command) => name === 'UID FETCH' && /BODY\.PEEK\[\]/.test(rest);

const starts: [string, Start, number[]][] = [
  ['new', { kind: 'new' }, []],
  ['all', { kind: 'all' }, [1, 2, 3, 4]],
  ['a date', { kind: 'date', at: day('2026-11-02').getTime() }, [3, 4]],
];
test.each(starts)('start: %s', async (_, start, wanted) => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (const date of ['2026-10-01', '2026-11-01', '2026-11-02', '2026-11-15'])
    server.deliver('INBOX', mail(date), { internalDate: day(date) });
  await harness.watch({ account: { start } });
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual(wanted);
  expect(harness.report()).toMatchObject({ expected: wanted.length, stored: wanted.length, missing: 0 });

  // What arrives after the first opening is wanted whatever its INTERNALDATE.
  server.deliver('INBOX', mail('late'), { internalDate: day('2020-01-01') });
  await harness.until(({ stored }) => stored === wanted.length + 1);

  // Found too old once, it is not asked for again.
  const metadata = () =>
    server.commands.filter((command) => /^UID FETCH .*RFC822\.SIZE/.test(command)).length;
  await server.idle();
  const before = metadata();
  const again = server.seen(/^IDLE/);
  harness.clock.advance(RECONCILE_MS);
  await again;
  expect(metadata()).toBe(before);
});

test('start: new on a server that tells no UIDNEXT: neither a flood nor a gap', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.createFolder('INBOX', { uidNext: null });
  for (const name of ['old', 'older']) server.deliver('INBOX', mail(name));
  await harness.watch({ account: { start: { kind: 'new' } } });
  await server.idle();
  server.deliver('INBOX', mail('three'));
  await harness.until(() => intake.published.length === 1);
  await server.idle();
  server.folders.get('INBOX')!.messages.pop();
  const again = server.seen(/^SELECT/);
  harness.clock.advance(RECONCILE_MS);
  await again;
  await server.idle();
  expect(harness.ledger.epochs).toHaveLength(1);
  expect(intake.published.map(({ uid }) => uid)).toEqual([3]);
});

test('new mail goes before back-fill', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  for (let uid = 1; uid <= 600; uid++) server.deliver('INBOX', mail(`m${uid}`));
  let first = true;
  server.script = (command) => {
    if (!asksBody(command) || !first) return false;
    first = false;
    server.deliver('INBOX', mail('new'));
    command.session.send('* 601 EXISTS');
    command.session.answer(command);
    return true;
  };
  await harness.watch();
  await server.idle();
  const order = intake.published.map(({ uid }) => uid);
  expect(order.indexOf(601)).toBe(128);
  expect(order).toHaveLength(601);
});

test('mail that comes while the daemon was away is fetched, what was published is not', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  server.deliver('INBOX', mail('one'));
  await harness.watch();
  await server.idle();
  await harness.stop();
  server.deliver('INBOX', mail('two'));
  await harness.watch();
  await server.idle();
  expect(intake.published.map(({ uid }) => uid)).toEqual([1, 2]);
});

test('reconciliation finds what became visible below what was scanned', async () => {
  await using harness = await createHarness();
  const { server, intake } = harness;
  await harness.watch();
  await server.idle();
  server.deliver('INBOX', mail('three'), { uid: 3 });
  await harness.until(({ stored }) => stored === 1);
  server.folders.get('INBOX')!.messages.unshift({
    uid: 2,
    source: Buffer.from(mail('two')),
    internalDate: day('2026-11-20'),
    flags: new Set(),
  });
  harness.clock.advance(RECONCILE_MS);
  await harness.until(({ stored }) => stored === 2);
  expect(intake.published.map(({ uid }) => uid)).toEqual([3, 2]);
});

test('after an unclean end the first unhandled messages go one at a time, each attempt recorded first', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  for (let uid = 1; uid <= 520; uid++) server.deliver('INBOX', mail(`m${uid}`));
  ledger.suspects = true;
  ledger.deaths = new Map([
    [2, 2],
    [3, 3],
    [4, 4],
  ]);
  const fetched: string[] = [];
  server.script = (command) => {
    if (asksBody(command)) {
      fetched.push(command.rest.split(' ')[0]!);
      if (fetched.length <= 254) expect(ledger.alone).toContain(Number(fetched.at(-1)));
    }
    return false;
  };
  await harness.watch();
  await server.idle();
  expect(ledger.alone).toEqual(Array.from({ length: 256 }, (_, index) => index + 1));
  expect(ledger.states()).toMatchObject({
    1: 'published',
    2: 'published',
    3: 'quarantined',
    4: 'quarantined',
  });
  expect(fetched.slice(0, 4)).toEqual(['1', '2', '3', '5']);
  expect(fetched.slice(-2)).toEqual(['257:512', '513:520']);
  const { error, header } = ledger.rows.get(1)!.get(3)!;
  expect(error!.code).toBe('DAEMON_KILLED');
  expect(header!.toString()).toContain('Subject: m3');
  expect(ledger.rows.get(1)!.get(4)!.header).toHaveLength(0);
  expect(intake.reserved.filter(({ alone }) => alone)).toHaveLength(256);
  expect(harness.report()).toMatchObject({ expected: 520, stored: 520 });

  // They were suspects once: mail that arrives now is innocent.
  server.deliver('INBOX', mail('new'));
  await harness.until(({ stored }) => stored === 521);
  expect(ledger.alone).toHaveLength(256);
});

test('a suspect is alone: nothing else is in work while it is', async () => {
  await using harness = await createHarness();
  const { server, ledger, intake } = harness;
  for (let uid = 1; uid <= 5; uid++) server.deliver('INBOX', mail(`m${uid}`));
  ledger.suspects = true;
  await harness.watch();
  await server.idle();
  expect(intake.mostWorking).toBe(1);
});
