/** `mailwatchd list`: the ledger, as a table or a JSON line a message, the last handled first. */
import { parseDate } from '../config/format.ts';
import { loadConfig } from '../config/load.ts';
import { EXIT, MailwatchdError } from '../errors.ts';
import type { MessageState } from '../model.ts';
import { type ListedMessage, type ListFilter, listMessages } from '../spool/reading.ts';
import { assertReader } from '../supervision/owner.ts';
import { asJson, cell, formatBytes, print, table } from '../terminal.ts';
import type { Invocation } from './invocation.ts';

/** The options as they were typed. */
export interface ListOptions {
  account?: string;
  folder?: string;
  since?: string;
  state?: string;
  limit?: string;
  json?: true;
}

const STATES: readonly MessageState[] = [
  'staged',
  'published',
  'quarantined',
  'unfetchable',
  'filtered',
  'carried',
  'skipped',
];

/** A table is made as a whole, so it shows no more than somebody can read; `--json` has no such end. */
const TABLE_LIMIT = 10_000;

/** USAGE for an option's value that is not one; WRONG_USER for anybody but the owner of the state directory or root. */
export async function list(
  { configFile, environment, stdout }: Invocation,
  options: ListOptions,
): Promise<number> {
  const filter = toFilter(options);
  const { config } = await loadConfig(configFile, environment);
  await assertReader(config.state.directory);
  if (options.json) {
    for (const message of listMessages(config.state.directory, filter)) {
      if (!(await print(stdout, `${asJson(stdout, toJson(message))}\n`))) break;
    }
    return EXIT.OK;
  }
  const limited = { ...filter, limit: Math.min(filter.limit ?? TABLE_LIMIT, TABLE_LIMIT) };
  const rows = [...listMessages(config.state.directory, limited)].map(toRow);
  stdout.write(table(stdout, ['STATE', 'MAILBOX', 'ID', 'RECEIVED', 'SIZE', 'PATH OR REASON'], rows, ['ID']));
  return EXIT.OK;
}

function toFilter({ account, folder, since, state, limit }: ListOptions): ListFilter {
  return {
    ...(account !== undefined && { account }),
    ...(folder !== undefined && { folder }),
    ...(since !== undefined && { since: instantOf(since) }),
    ...(state !== undefined && { state: stateOf(state) }),
    ...(limit !== undefined && { limit: countOf(limit) }),
  };
}

/** RFC 3339's date, or date and time with a zone; a date alone is its 00:00 UTC. */
const INSTANT = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

function instantOf(text: string): number {
  // Date.parse takes 2026-02-30 for 2 March.
  const right = INSTANT.test(text) && parseDate(text.slice(0, 10)) !== null;
  const instant = right ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(instant)) return instant;
  throw new MailwatchdError('USAGE', {
    where: '--since',
    detail: 'is not a date',
    remedy: 'give 2026-11-01 or 2026-11-01T08:00:00Z',
  });
}

function stateOf(text: string): MessageState {
  const state = STATES.find((each) => each === text);
  if (state !== undefined) return state;
  throw new MailwatchdError('USAGE', {
    where: '--state',
    detail: 'is not a state',
    remedy: `give one of ${STATES.join(', ')}`,
  });
}

function countOf(text: string): number {
  const count = /^\d{1,9}$/.test(text) ? Number(text) : 0;
  if (count > 0) return count;
  throw new MailwatchdError('USAGE', { where: '--limit', detail: 'is not a number of 1 or more' });
}

const isoTime = (milliseconds: number | null): string | null =>
  milliseconds === null ? null : new Date(milliseconds).toISOString();

/** The Contract's line. */
function toJson(message: ListedMessage) {
  const { account, folder, uid, id, state, messageId, size, sha256, path, receivedAt, publishedAt, reason } =
    message;
  return {
    account,
    folder,
    uid,
    id,
    state,
    messageId,
    size,
    sha256,
    path,
    // As the document has it: INTERNALDATE knows whole seconds.
    receivedAt: isoTime(receivedAt)?.replace('.000Z', 'Z'),
    publishedAt: isoTime(publishedAt),
    reason,
  };
}

function toRow(message: ListedMessage): string[] {
  return [
    message.state,
    cell(`${message.account}/${message.folder}`),
    cell(message.id),
    // To the minute, in UTC; --json has it whole.
    cell(isoTime(message.receivedAt)?.slice(0, 16).replace('T', ' ')),
    formatBytes(message.size),
    cell(message.reason ?? message.path),
  ];
}
