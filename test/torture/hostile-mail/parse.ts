/** Runs `mailwatchd parse --attachments` on many messages a call, and checks each document against the bytes. */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { lstatSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import type { MessageDocument } from '../../../src/message/document.ts';
import { PROGRAM } from '../../dovecot/workplace.ts';
import type { Fault } from '../attack.ts';

/** What the program said of one message: its line, or null where it ended before. */
export type Answer = MessageDocument | { error: { code: string; message: string } } | null;

export interface Call {
  answers: Answer[];
  /** The lines as they came, to compare two runs by. */
  lines: string[];
  /** How the program ended, where that was not as it should; null where it was. */
  trouble: { kind: Fault['kind']; what: string } | null;
}

/** No message takes longer: limits.parseSeconds is 30. */
const SILENCE_MS = 60_000;

const schema = JSON.parse(
  readFileSync(new URL('../../../schema/message-v1.json', import.meta.url), 'utf8'),
) as object;
const validate = new Ajv2020({ allErrors: true, strict: true, strictTypes: false }).compile(schema);

/** Writes the messages as files of `directory/in`, parses them, attachments into `directory/out`. */
export async function parseMessages(directory: string, messages: readonly Buffer[]): Promise<Call> {
  const [input, output] = [join(directory, 'in'), join(directory, 'out')];
  for (const path of [input, output]) {
    rmSync(path, { recursive: true, force: true });
    mkdirSync(path);
  }
  const files = messages.map((message, index) => {
    const file = join(input, `${index}.eml`);
    writeFileSync(file, message);
    return file;
  });
  return parseFiles(output, files);
}

async function parseFiles(output: string, files: string[]): Promise<Call> {
  const program = [process.execPath, PROGRAM, 'parse', '--attachments', output, ...files];
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', ...program], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { PATH: process.env.PATH },
  });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const chunks: Buffer[] = [];
  let hung = false;
  const watch = setTimeout(() => {
    hung = true;
    child.kill('SIGKILL');
  }, SILENCE_MS);
  const ended = once(child, 'close');
  for await (const chunk of child.stdout) {
    chunks.push(chunk as Buffer);
    watch.refresh();
  }
  await ended;
  clearTimeout(watch);
  // Not readline: it ends lines at U+2028, which is text.
  const lines = Buffer.concat(chunks).toString().split('\n').slice(0, -1);
  const answers = files.map((_, index) => (lines[index] === undefined ? null : read(lines[index])));
  const status = answers.some((answer) => answer !== null && 'error' in answer) ? 65 : 0;
  const how = `exit ${child.exitCode ?? child.signalCode} ${said.slice(0, 500)}`.trim();
  const right = child.exitCode === status && said === '' && lines.length === files.length;
  if (hung) return { answers, lines, trouble: { kind: 'hang', what: `nothing for ${SILENCE_MS} ms` } };
  return { answers, lines, trouble: right ? null : { kind: 'crash', what: how } };
}

function read(line: string): Answer {
  try {
    return JSON.parse(line) as Answer;
  } catch {
    return null;
  }
}

/** What is wrong with the document of these bytes; empty where nothing is. `output` holds the attachments. */
export function documentFaults(message: Buffer, answer: Answer, output: string): string[] {
  if (answer === null) return ['no line, or one that is no JSON'];
  if ('error' in answer) return [`${answer.error.code}: ${answer.error.message}`];
  const faults: string[] = [];
  const demand = (holds: boolean, what: string) => {
    if (!holds) faults.push(what);
  };
  if (!validate(answer)) return [`against the schema: ${JSON.stringify(validate.errors).slice(0, 500)}`];
  demand(answer.size === message.length, `size is ${answer.size}, not ${message.length}`);
  demand(answer.sha256 === hashOf(message), 'sha256 is not that of the bytes');
  for (const text of textsOf(answer)) {
    demand(text.isWellFormed(), `a lone surrogate in ${JSON.stringify(text.slice(0, 100))}`);
    demand(!text.includes('\0'), `NUL in ${JSON.stringify(text.slice(0, 100))}`);
    if (faults.length > 5) break;
  }
  for (const [what, is, most] of boundsOf(answer)) demand(is <= most, `${what}: ${is}, not ${most} at most`);
  if (answer.sentAt !== null)
    demand(!Number.isNaN(Date.parse(answer.sentAt)), `sentAt is no time: ${answer.sentAt}`);
  return [...faults, ...attachmentFaults(answer, output)];
}

const MIB = 1024 * 1024;

/** What is cut (docs/document.md), whatever the message was. */
const boundsOf = ({
  headers,
  attachments,
  from,
  to,
  cc,
  bcc,
  replyTo,
}: MessageDocument): [string, number, number][] => [
  ['fields', headers.length, 100_000],
  ['characters of a field', lengths(headers).reduce((most, one) => Math.max(most, one), 0), 2 * MIB],
  // The last field may go beyond it.
  ['characters of the header', lengths(headers).reduce((sum, one) => sum + one, 0), 10 * MIB],
  ['parts', attachments.length, 10_000],
  ...[from, to, cc, bcc, replyTo].map((list): [string, number, number] => [
    'addresses',
    list.length,
    100_000,
  ]),
];
const lengths = (headers: MessageDocument['headers']): number[] => headers.map(([, text]) => text.length);

export const hashOf = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');

function* textsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null)
    for (const inner of Object.values(value)) yield* textsOf(inner);
}

/**
 * What no file name of ours holds, whatever the sender called it: separators, controls, what hides or turns
 * what is read, what Windows reserves; a dot or space at its end.
 */
const MISLEADING =
  /[/\\:*?"<>|]|(?![\u200c\u200d])[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]|[\u115f\u1160\u3164\uffa0]|[. ]$/u;
/** Most file systems' longest name, bytes. */
const MAX_NAME = 255;

function attachmentFaults({ id, attachments }: MessageDocument, output: string): string[] {
  const faults: string[] = [];
  const folded = new Set<string>();
  const names: string[] = [];
  for (const [index, { path, size, sha256 }] of attachments.entries()) {
    const [directory, name = '', ...more] = (path ?? '').split('/');
    names.push(name);
    if (directory !== id || more.length > 0 || !name.startsWith(`${index + 1}-`))
      faults.push(`path ${JSON.stringify(path)}`);
    if (MISLEADING.test(name) || Buffer.byteLength(name) > MAX_NAME)
      faults.push(`file name ${JSON.stringify(name)}`);
    const same = name.normalize('NFKC').toLowerCase();
    if (same.endsWith('.json')) faults.push(`a forged document: ${JSON.stringify(name)}`);
    if (folded.has(same)) faults.push(`two files of one name: ${JSON.stringify(name)}`);
    folded.add(same);
    if (faults.length > 0) continue;
    const file = join(output, id, name);
    const info = lstatSync(file, { throwIfNoEntry: false });
    if (!info?.isFile()) faults.push(`no file ${JSON.stringify(name)}`);
    else if (info.size !== size || hashOf(readFileSync(file)) !== sha256)
      faults.push(`the file ${JSON.stringify(name)} is not what the document says`);
  }
  if (faults.length > 0 || attachments.length === 0) return faults.slice(0, 5);
  const found = readdirSync(join(output, id)).toSorted().join('\n');
  return found === names.toSorted().join('\n') ? [] : ['files that are in no document'];
}

/** What a call left in the output beside the directories of its documents; empty where nothing is. */
export function strayFiles(directory: string, answers: readonly Answer[]): string[] {
  const ids = new Set(
    answers.flatMap((answer) =>
      answer !== null && 'id' in answer && answer.attachments.length > 0 ? [answer.id] : [],
    ),
  );
  const strays = readdirSync(join(directory, 'out')).filter((name) => !ids.has(name));
  const beside = readdirSync(directory).filter((name) => name !== 'in' && name !== 'out');
  return [...strays, ...beside];
}
