/** Proves on a real Dovecot: rules decide before fetching what a consumer would decide by the documents, and nothing is lost by them. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { makeCorpus } from '../servers/corpus.ts';
import { type Dovecot, startDovecot } from '../servers/dovecot.ts';
import { publishedFiles } from '../servers/published.ts';
import { type Document, readDocument } from './documents.ts';
import { accountOn, createWorkplace, type Workplace } from './workplace.ts';

let server: Dovecot;
let users = 0;
const NAMES = Array.from({ length: 20 }, (_, index) => `user${index}`);

beforeAll(async () => {
  server = await startDovecot({ users: Object.fromEntries(NAMES.map((name) => [name, name])) });
});
afterAll(() => server?.stop());

const contains = (text: string | null, part: string) => (text ?? '').toLowerCase().includes(part);
const fields = (document: { headers: [string, string][] }, name: string) =>
  document.headers.filter(([each]) => each.toLowerCase() === name).map(([, text]) => text);

/** Rules, and what a consumer would call the same. */
const RULES: [conditions: object, takes: (document: Whole) => boolean][] = [
  [{ sender: '/sender[1-9]@/' }, ({ sender }) => /sender[1-9]@/.test(sender?.address ?? '')],
  [{ sender: 'EXAMPLE.ORG' }, ({ sender }) => contains(sender?.address ?? null, 'example.org')],
  [
    { recipient: 'sales@' },
    ({ to, cc, bcc }) => [...to, ...cc, ...bcc].some(({ address }) => contains(address, 'sales@')),
  ],
  [{ subject: 'ü' }, ({ subject }) => contains(subject, 'ü')],
  [{ subject: '/\\bmeeting|invoice\\b/i' }, ({ subject }) => /\bmeeting|invoice\b/i.test(subject ?? '')],
  [
    { headers: { Received: '/192\\.0\\.2\\.1/' } },
    (one) => fields(one, 'received').some((text) => text.includes('192.0.2.1')),
  ],
  [{ headers: { 'Message-ID': false } }, (one) => fields(one, 'message-id').length === 0],
  [{ headers: { 'List-Id': true } }, (one) => fields(one, 'list-id').length > 0],
  [{ list: true }, ({ list }) => list !== undefined],
  [{ automatic: true }, ({ automatic }) => automatic !== undefined && automatic.kind !== 'list'],
  [{ largerThan: '40kb' }, ({ size }) => size > 40 * 1024],
  [{ attachment: true }, ({ attachments }) => attachments.length > 0],
  [
    { attachment: false, sender: 'sender' },
    ({ attachments, sender }) => attachments.length === 0 && contains(sender?.address ?? null, 'sender'),
  ],
];

interface Whole extends Document {
  to: { address: string | null }[];
  cc: { address: string | null }[];
  bcc: { address: string | null }[];
  headers: [string, string][];
  list?: object;
  automatic?: { kind: string };
}

const documents = (place: Workplace, account: string): Map<number, Whole> =>
  new Map(
    publishedFiles(place.storage)
      .map((file) => readDocument(file) as Whole)
      .filter((document) => document.account === account)
      .map((document) => [document.uid, document]),
  );

test('for every message the verdict before fetching is the one on its document', async () => {
  const user = NAMES[users++]!;
  const account = (name: string, more: object) => accountOn(server, name, user, user, more);
  const accounts = [
    account('all', {}),
    ...RULES.flatMap(([conditions], index) => [
      account(`only${index}`, { only: [{ name: 'r', ...conditions }] }),
      account(`except${index}`, { except: [{ name: 'r', ...conditions }] }),
    ]),
  ];
  await using place = createWorkplace({ accounts });
  const corpus = makeCorpus(7, Number(process.env.MAILWATCHD_TEST_MESSAGES ?? 80));
  for (const { raw } of corpus) await server.append(user, 'INBOX', raw);
  const list = ['List-Id: <dev.example.org>', 'Precedence: list', 'From: a@example.org', '', 'Hello'];
  const vacation = ['Auto-Submitted: auto-replied', 'From: a@example.org', '', 'Gone fishing'];
  for (const lines of [list, vacation]) {
    await server.append(user, 'INBOX', Buffer.from(lines.join('\r\n')));
    const large = [
      ...lines,
      ...Array.from({ length: 2000 }, () => 'all work and no play makes Jack a dull boy'),
    ];
    await server.append(user, 'INBOX', Buffer.from(large.join('\r\n')));
  }

  const outcome = await place.command(['once']);
  expect(outcome).toMatchObject({ status: 0 });
  const all = documents(place, 'all');
  expect(all.size).toBe(corpus.length + 4);
  const listed = await place.list();
  const wrong: string[] = [];
  RULES.forEach(([conditions, takes], index) => {
    for (const [kind, reason] of [
      ['only', 'no rule of only'],
      ['except', 'r'],
    ] as const) {
      const published = documents(place, `${kind}${index}`);
      const left = new Map(
        listed
          .filter((one) => one.account === `${kind}${index}` && one.state === 'filtered')
          .map((one) => [one.uid, one.reason]),
      );
      for (const [uid, document] of all) {
        const wanted = takes(document) === (kind === 'only');
        if (published.has(uid) !== wanted || left.get(uid) !== (wanted ? undefined : reason))
          wrong.push(`${kind} ${JSON.stringify(conditions)}: UID ${uid}, ${document.subject}`);
      }
    }
  });
  expect(wrong).toEqual([]);
}, 300_000);

test('rules that change concern what is new, and replay --filtered has the rest judged anew', async () => {
  const user = NAMES[users++]!;
  const rules = (subject: string) => ({
    accounts: [accountOn(server, 'support', user, user, { except: [{ name: 'noise', subject }] })],
  });
  await using place = createWorkplace(rules('noise'));
  const send = (subject: string, size = 10) =>
    server.append(
      user,
      'INBOX',
      Buffer.from(
        `From: a@example.org\r\nSubject: ${subject}\r\nMessage-ID: <${subject}@x.org>\r\n\r\n${'x\r\n'.repeat(size)}`,
      ),
    );
  for (const subject of ['one', 'noise-small', 'noise-gone']) await send(subject);
  await send('noise-large', 20_000);
  expect((await place.command(['plan'])).stdout).toMatch(/support\/INBOX +noise +3 +leaves out/);

  const daemon = place.start();
  await place.settled(daemon);
  const subjects = () => [...documents(place, 'support').values()].map(({ subject }) => subject).toSorted();
  const filtered = async () => (await place.list('--state', 'filtered')).map(({ messageId }) => messageId);
  expect(subjects()).toEqual(['one']);
  expect((await filtered()).toSorted()).toEqual([
    'noise-gone@x.org',
    'noise-large@x.org',
    'noise-small@x.org',
  ]);
  await daemon.until('the count of what is filtered', () => place.mailboxes()?.[0]?.filtered === 3);

  place.configure(rules('small'));
  daemon.process.kill('SIGHUP');
  await daemon.until('the reload', () => daemon.output().includes(' reloaded '));
  await send('noise-new');
  await daemon.until('what is new', () => subjects().includes('noise-new'));
  expect(subjects()).toEqual(['noise-new', 'one']);

  await server.expunge(user, 'INBOX', [3]);
  expect((await place.command(['replay', '--filtered'])).stdout).toMatch(/^3 to be judged anew: /);
  await daemon.until('what the rules take now', () => subjects().includes('noise-large'));
  await daemon.until('the count of what is filtered', () => place.mailboxes()?.[0]?.filtered === 2);
  expect(subjects()).toEqual(['noise-large', 'noise-new', 'one']);
  expect((await filtered()).toSorted()).toEqual(['noise-gone@x.org', 'noise-small@x.org']);
  expect(daemon.output()).toMatch(/filtered_gone .*count=1/);
  expect(await daemon.stop()).toBe(0);
});

test('a new UIDVALIDITY brings nothing of it back before it is asked for', async () => {
  const user = NAMES[users++]!;
  const except = [
    { name: 'noise', subject: 'noise' },
    { name: 'large', largerThan: '30kb' },
  ];
  await using place = createWorkplace({ accounts: [accountOn(server, 'support', user, user, { except })] });
  for (const { raw } of makeCorpus(11, 60)) await server.append(user, 'INBOX', raw);
  await server.append(user, 'INBOX', Buffer.from('Subject: noise\r\nMessage-ID: <noise@x.org>\r\n\r\nHello'));
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  const published = documents(place, 'support').size;
  const before = await place.list('--state', 'filtered');
  expect(before.length).toBeGreaterThan(10);
  expect(published + before.length).toBe(61);

  await server.changeUidValidity(user, 'INBOX');
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(documents(place, 'support').size).toBe(published);
  const after = await place.list('--state', 'filtered');
  expect(after.filter(({ id }) => !before.some((one) => one.id === id))).toHaveLength(before.length);

  place.configure({ accounts: [accountOn(server, 'support', user, user)] });
  expect((await place.command(['replay', '--filtered'])).stdout).toMatch(
    `${before.length} to be judged anew`,
  );
  expect(await place.command(['once'])).toMatchObject({ status: 0 });
  expect(documents(place, 'support').size).toBe(61);
});
