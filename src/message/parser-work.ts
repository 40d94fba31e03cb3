/** What a parser process does: made ready once, then a reply for each request. */
import { plainError, toMailwatchdError } from '../errors.ts';
import { parseMessage } from './document.ts';
import { judgeStart } from './judging.ts';
import {
  isDocumentJob,
  isStageJob,
  type Job,
  type Reply,
  type Request,
  type Result,
} from './parser-protocol.ts';
import { parseDocument, readSource, stageMessage } from './stage.ts';

/** Runs through most of the parser, so that the first real message finds it loaded and compiled. */
const SAMPLE = [
  'From: =?utf-8?q?A=C3=B1a?= <ana@example.org>',
  'Date: Fri, 20 Nov 2026 11:00:00 +0100',
  'Content-Type: multipart/mixed; boundary=b',
  '',
  '--b',
  'Content-Type: text/html; charset=iso-8859-1',
  'Content-Transfer-Encoding: quoted-printable',
  '',
  '<p>=E9</p>',
  '--b',
  'Content-Type: application/pdf; name=a.pdf',
  'Content-Transfer-Encoding: base64',
  '',
  'QQ==',
  '--b--',
  '',
].join('\r\n');

/** Makes this process a parser: mode, signals, and the code loaded and compiled. Returns what does the work. */
export function prepareParser(): (request: Request) => Reply {
  // Modes of staged files are exact, whatever the daemon was started with.
  const umask = process.umask(0);
  // Ctrl-C goes to the whole group: what is in flight is finished, and the daemon ends us by closing the channel.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => undefined);
  parseMessage(Buffer.from(SAMPLE), { identity: null });
  return ({ number, job }) => {
    try {
      return { kind: 'done', number, result: resultOf(job, umask) };
    } catch (thrown) {
      return { kind: 'failed', number, error: plainError(toMailwatchdError(thrown, 'PARSE_FAILED')) };
    }
  };
}

function resultOf(job: Job, umask: number): Result {
  if (isDocumentJob(job)) return parseDocument(job, umask);
  return isStageJob(job) ? stageMessage(job) : judgeStart(readSource(job.source), job.candidate);
}
