/** Fetches a mailbox and forgets it: node bench/backfill/wire.ts HOST PORT USER PASSWORD; prints messages and bytes. */
import { connect } from 'node:net';

const [host, port, user, password] = process.argv.slice(2);
const socket = connect({ host: host!, port: Number(port), noDelay: true });
socket.write(
  `a LOGIN "${user}" "${password}"\r\nb EXAMINE INBOX\r\nc UID FETCH 1:* (UID INTERNALDATE FLAGS BODY.PEEK[])\r\n`,
);

const LITERAL = /\{(\d+)\}\r\n$/;
let messages = 0;
let bytes = 0;
/** Of the literal that is being read. */
let left = 0;
let line = '';
for await (const chunk of socket as AsyncIterable<Buffer>) {
  for (let at = 0; at < chunk.length; ) {
    const skipped = Math.min(left, chunk.length - at);
    left -= skipped;
    at += skipped;
    if (at === chunk.length) break;
    const end = chunk.indexOf('\n', at) + 1;
    line += chunk.toString('latin1', at, end || chunk.length);
    at = end || chunk.length;
    if (end === 0) break;
    const literal = LITERAL.exec(line)?.[1];
    if (literal !== undefined) {
      messages += 1;
      bytes += Number(literal);
      left = Number(literal);
    }
    if (line.startsWith('c ')) socket.end('d LOGOUT\r\n');
    line = '';
  }
}
console.log(messages, bytes);
