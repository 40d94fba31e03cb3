/** Proves that mail is published, pushed and put away with no more of IMAP than each provider offers. */
import { expect, test } from 'vitest';
import { startDovecot } from '../servers/dovecot.ts';
import { MANNERS, type Manners } from '../servers/providers.ts';
import { publishedFiles } from '../servers/published.ts';
import { readDocument } from './documents.ts';
import { accountOn, createWorkplace } from './workplace.ts';

/** Of what providers offer, what Dovecot 2.3 can do. */
const DOVECOT = new Set(
  'SASL-IR ID ENABLE IDLE SORT THREAD=REFERENCES THREAD=ORDEREDSUBJECT UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED CONDSTORE QRESYNC ESEARCH ESORT SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE LITERAL+ SPECIAL-USE'.split(
    ' ',
  ),
);

const message = (subject: string) =>
  Buffer.from(`From: Ann <ann@example.org>\r\nSubject: ${subject}\r\n\r\nHello.\r\n`);

test.each(Object.entries(MANNERS) as [string, Manners][])('%s', async (_name, { capabilities }) => {
  const trimmed = capabilities.filter((capability) => DOVECOT.has(capability));
  await using server = await startDovecot({ users: { ann: 'secret' }, capabilities: trimmed });
  await server.createFolder('ann', 'Done');
  const moves = trimmed.includes('MOVE');
  await using place = createWorkplace({
    accounts: [
      accountOn(server, 'support', 'ann', 'secret', {
        after: moves ? { seen: true, move: 'Done' } : { seen: true, delete: true },
      }),
    ],
  });
  const subjects = () =>
    publishedFiles(place.storage)
      .map((file) => readDocument(file).subject)
      .sort();

  await server.append('ann', 'INBOX', message('before'));
  const daemon = place.start();
  await daemon.until('what was there', () => subjects().length === 1);
  await place.settled(daemon);
  expect(place.mailboxes()).toMatchObject([{ state: 'idle' }]);
  await server.append('ann', 'INBOX', message('pushed'));
  await daemon.until('what is pushed', () => subjects().length === 2);
  expect(subjects()).toEqual(['before', 'pushed']);
  await daemon.until('the mail to be put away', async () => {
    const { messages } = await server.status('ann', 'INBOX');
    return messages === 0;
  });
  expect((await server.status('ann', 'Done')).messages).toBe(moves ? 2 : 0);
  expect(await daemon.stop()).toBe(0);
});
