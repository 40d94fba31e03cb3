/** Proves on a real server what comparing a quiet folder costs, and that nothing is lost by it. */
import { expect, test } from 'vitest';
import { startDovecot } from '../servers/dovecot.ts';
import { openTap } from '../servers/tap.ts';
import { accountOn, createWorkplace } from './workplace.ts';

const message = (subject: string) =>
  Buffer.from(`From: Ann <ann@example.org>\r\nSubject: ${subject}\r\n\r\nHello.\r\n`);

/** As little as a server offers. Dovecot itself offers CONDSTORE and QRESYNC (RFC 7162). */
const BARE = ['IDLE', 'UIDPLUS'];

test.each([
  { offer: 'QRESYNC', start: 'all' },
  { offer: 'QRESYNC', start: 'new' },
  { offer: 'QRESYNC', start: '2026-11-02' },
  { offer: 'no QRESYNC', start: '2026-11-02', capabilities: BARE },
])('$offer, start $start: a quiet folder costs a SELECT', async ({ start, capabilities }) => {
  await using server = await startDovecot({ users: { ann: 'a' }, ...(capabilities && { capabilities }) });
  /** What each comparison asked, from its SELECT until IDLE. */
  const comparisons: string[][] = [];
  let comparison: string[] | null = null;
  using tap = await openTap(
    { host: server.host, port: server.imapPort },
    () => false,
    (from, chunk) => {
      if (from !== 'client') return;
      for (const line of chunk.toString('latin1').split('\r\n')) {
        const asked = /^\w+ (.*)$/.exec(line)?.[1];
        if (asked === undefined) continue;
        if (asked.startsWith('SELECT')) comparison = [];
        else if (asked !== 'IDLE') comparison?.push(asked);
        else if (comparison !== null) {
          comparisons.push(comparison);
          comparison = null;
        }
      }
    },
  );
  await using place = createWorkplace({
    accounts: [accountOn({ host: tap.host, imapPort: tap.port }, 'support', 'ann', 'a', { start })],
    reconcileEvery: '1s',
  });
  for (const date of ['2026-10-01', '2026-11-03', '2026-11-04'])
    await server.append('ann', 'INBOX', message(date), { date: new Date(`${date}T12:00:00Z`) });
  const daemon = place.start();
  const quiet = async () => {
    const from = comparisons.length;
    await daemon.until('a comparison by SELECT alone', () =>
      comparisons.slice(from).some((asked) => asked.length === 0),
    );
  };
  const expected = (count: number) =>
    daemon.until(`${count} expected`, () =>
      place.mailboxes()?.some((mailbox) => mailbox.expected === count && mailbox.stored === count),
    );
  const wanted = { all: 3, new: 0, '2026-11-02': 2 }[start]!;
  await place.settled(daemon);
  await quiet();
  await using client = await server.client('ann');
  await client.command('SELECT INBOX');
  await client.command('STORE 1:* +FLAGS (\\Seen)');
  const from = comparisons.length;
  await quiet();
  expect(comparisons.slice(from).flat()).toEqual([]);
  await server.append('ann', 'INBOX', message('four'));
  await expected(wanted + 1);
  await quiet();
  await server.expunge('ann', 'INBOX', [1, 3]);
  await server.append('ann', 'INBOX', message('five'));
  await expected({ all: 3, new: 2, '2026-11-02': 3 }[start]!);
  await quiet();
  const subjects = await place.list('--state', 'published');
  expect(subjects.map(({ uid }) => uid).toSorted()).toEqual(
    { all: [1, 2, 3, 4, 5], new: [4, 5], '2026-11-02': [2, 3, 4, 5] }[start],
  );
  expect(await daemon.stop()).toBe(0);
});
