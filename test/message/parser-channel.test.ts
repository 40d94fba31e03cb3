/** What comes from a parser, which a message may have taken over, is taken as replies or refused, in whatever pieces it comes. */
import { expect, test } from 'vitest';
import { replyReader } from '../../src/message/parser-channel.ts';

const frame = (json: string): Buffer => {
  const prefix = Buffer.alloc(4);
  prefix.writeUInt32LE(Buffer.byteLength(json));
  return Buffer.concat([prefix, Buffer.from(json)]);
};
const started = (number: number) => ({ kind: 'started', number }) as const;

test.each([1, 2, 3, 5, 7, 64, 10_000])('replies are the same in pieces of %d bytes', (size) => {
  const replies = Array.from({ length: 20 }, (_, number) => started(number));
  const bytes = Buffer.concat(replies.map((reply) => frame(JSON.stringify(reply))));
  const read = replyReader(() => 100);
  const got = [];
  for (let at = 0; at < bytes.length; at += size) got.push(...read(bytes.subarray(at, at + size)));
  expect(got).toEqual(replies);
});

test('what would be longer than the limit is refused by its prefix, before any of it is held', () => {
  const read = replyReader(() => 100);
  expect(read(frame(JSON.stringify(started(1))))).toEqual([started(1)]);
  expect(() => read(Buffer.from([101, 0, 0, 0]))).toThrow(RangeError);
  expect(() => replyReader(() => 100)(Buffer.from([0, 0, 0, 0]))).toThrow(RangeError);
});
