/** A message and the same with a part more: what the part adds hides nothing of what was there. */
import type { MessageDocument } from '../../../src/message/document.ts';
import type { Random } from '../../servers/random.ts';

export interface Joined {
  raw: Buffer;
  /** What of the message alone is not in the document of both. */
  hidden(alone: MessageDocument, both: MessageDocument): string[];
}

const ADDED: { name: string; part: string; isText?: boolean }[] = [
  { name: 'text', part: 'Content-Type: text/plain\r\n\r\nadded', isText: true },
  { name: 'no type', part: '\r\nadded', isText: true },
  { name: 'blank text', part: 'Content-Type: text/plain\r\n\r\n \r\n\t' },
  { name: 'empty', part: 'Content-Type: text/plain\r\n' },
  { name: 'HTML', part: 'Content-Type: text/html\r\n\r\n<p>added</p>' },
  { name: 'HTML that is open', part: 'Content-Type: text/html\r\n\r\n<style><!-- added' },
  { name: 'file', part: 'Content-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nadded' },
  { name: 'message', part: 'Content-Type: message/rfc822\r\n\r\nSubject: added\r\n\r\nadded' },
  {
    name: 'multipart that is open',
    part: 'Content-Type: multipart/alternative; boundary=added\r\n\r\n--added\r\nContent-Type: text/html\r\n\r\nadded',
  },
];

/** Null where the message's header is not one to put fields into, as broken mail's is not. */
export function join(random: Random, message: Buffer): (Joined & { name: string }) | null {
  const split = /\r?\n(?=\r?\n)/.exec(message.toString('latin1'));
  if (split === null) return null;
  const header = message.toString('latin1', 0, split.index);
  if (!/^[!-9;-~]+:/.test(header) || /\r(?!\n)/.test(header)) return null;
  const fields = header.split(/\r?\n(?![ \t])/);
  if (!fields.every((field) => /^[!-9;-~]+[ \t]*:/.test(field))) return null;
  const isOfContent = (field: string) => /^content-/i.test(field);

  const added = random.pick(ADDED);
  const boundary = `=_added${random.bytes(6).toString('hex')}`;
  const own = Buffer.concat([
    latin1(
      fields
        .filter(isOfContent)
        .map((field) => `${field}\r\n`)
        .join(''),
    ),
    message.subarray(split.index + split[0].length),
  ]);
  const parts = random.fraction() < 0.5 ? [own, latin1(added.part)] : [latin1(added.part), own];
  const outer = [
    ...fields.filter((field) => !isOfContent(field)),
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
  ];
  const delimiter = latin1(`\r\n--${boundary}\r\n`);
  return {
    name: added.name,
    raw: Buffer.concat([
      latin1(`${outer.join('\r\n')}\r\n`),
      ...parts.flatMap((part) => [delimiter, part]),
      latin1(`\r\n--${boundary}--\r\n`),
    ]),
    hidden(alone, both) {
      const faults: string[] = [];
      const demand = (holds: boolean, what: string) => {
        if (!holds) faults.push(`a part more (${added.name}) hides ${what}`);
      };
      // Text that was made from HTML, for want of another, is replaced by text.
      const replaced = added.isText && alone.html !== null;
      demand(replaced || both.body.includes(alone.body.trim()), 'the body');
      demand((both.html ?? '').includes((alone.html ?? '').trim()), 'the HTML');
      const left = both.attachments.map(keyOf);
      for (const attachment of alone.attachments) {
        const at = left.indexOf(keyOf(attachment));
        demand(at >= 0, `attachment ${attachment.filename}`);
        left.splice(0, at + 1);
      }
      return faults;
    },
  };
}

const latin1 = (text: string) => Buffer.from(text, 'latin1');
const keyOf = ({ contentType, sha256, filename }: MessageDocument['attachments'][number]) =>
  JSON.stringify([contentType, sha256, filename]);
