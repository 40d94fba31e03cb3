/** For `plan`: what a first start would fetch of a mailbox, and what its rules make of that. Writes nothing. */
import type { Clock } from '../clock.ts';
import { candidateOf, type Filter, judge, NONE_OF_ONLY, takenBy, type Verdict } from '../filter.ts';
import type { MessageMetadata } from '../model.ts';
import type { Connection } from './connection.ts';
import { asksHeader, HEADER_START_BYTES } from './filtering.ts';
import { STARTS } from './ranges.ts';
import type { Visit } from './visit.ts';
import { searchWindows } from './windows.ts';

/** What a first start would fetch; dates are INTERNALDATE in milliseconds, null where there is nothing. */
export interface Plan {
  messages: number;
  bytes: number;
  oldest: number | null;
  newest: number | null;
  /** Empty where the account has no rules. Each message counts once, by the rule that decides. */
  rules: PlannedRule[];
}

export interface PlannedRule {
  /** Null: only the whole message decides. */
  name: string | null;
  /** Of `only`; else it leaves out. */
  takes: boolean;
  messages: number;
}

/** What rules make of a message, and the one of `only` that takes it. */
export interface Judged {
  verdict: Verdict;
  takenBy: string | null;
}

export interface PlanOptions {
  clock: Clock;
  /** Judges a message by its first bytes. */
  judgeStart(filter: Filter, message: MessageMetadata, start: Buffer): Promise<Judged>;
}

/** Counts the messages that the account's `start` and rules ask for now. Throws as `probeMailbox`. */
export async function planMailbox(visit: Visit, folder: string, options: PlanOptions): Promise<Plan> {
  const connection = await visit.connection();
  const { exists } = await connection.select(folder, { readOnly: true });
  const { start, filter } = visit.account;
  const rules = createCount(filter);
  const plan: Plan = { messages: 0, bytes: 0, oldest: null, newest: null, rules: rules.all };
  if (start.kind === 'new' || exists === 0) return plan;
  const since = start.kind === 'date' ? start.at : 0;
  const bounds = { low: 1, high: await connection.highestUid(), exists, since };
  for await (const { uids } of searchWindows(connection, bounds)) {
    const rows = await connection.metadata(uids, { messageId: false });
    const candidates = [...rows.values()].filter(({ internalDate }) => internalDate >= since);
    const judged = filter && (await judgeAll(connection, filter, candidates, options));
    for (const message of candidates) {
      const verdict = judged?.get(message.uid);
      if (verdict !== undefined) rules.add(verdict);
      if (verdict?.verdict.kind === 'filtered') continue;
      const { size, internalDate } = message;
      plan.messages++;
      plan.bytes += size;
      plan.oldest = Math.min(plan.oldest ?? internalDate, internalDate);
      plan.newest = Math.max(plan.newest ?? internalDate, internalDate);
    }
  }
  return plan;
}

/** By UID: what metadata decides, or else the header. */
async function judgeAll(
  connection: Connection,
  filter: Filter,
  messages: readonly MessageMetadata[],
  { clock, judgeStart }: PlanOptions,
): Promise<Map<number, Judged>> {
  const judged = new Map<number, Judged>();
  for (const message of messages) {
    const candidate = candidateOf(filter, message, clock.now());
    judged.set(message.uid, { verdict: judge(candidate, null, null), takenBy: takenBy(candidate, null) });
  }
  if (!asksHeader({ filter })) return judged;
  const open = messages.filter(({ uid }) => judged.get(uid)?.verdict.kind === 'undecided');
  for (let from = 0; from < open.length; from += STARTS) {
    const uids = open.slice(from, from + STARTS).map(({ uid }) => uid);
    const judging: Promise<unknown>[] = [];
    await connection.fetchStarts(uids, HEADER_START_BYTES, (message, start) => {
      const set = judgeStart(filter, message, start).then((one) => judged.set(message.uid, one));
      judging.push(set);
    });
    await Promise.all(judging);
  }
  return judged;
}

/** Counts by rule, in the order of the configuration; `all` holds the numbers. */
function createCount(filter: Filter | null): { all: PlannedRule[]; add(judged: Judged): void } {
  if (filter === null) return { all: [], add: () => undefined };
  const { only, except } = filter;
  const of = (name: string | null, takes: boolean): PlannedRule => ({ name, takes, messages: 0 });
  const all = [
    ...only.map(({ name }) => of(name, true)),
    ...(only.length > 0 ? [of(NONE_OF_ONLY, false)] : []),
    ...except.map(({ name }) => of(name, false)),
    of(null, true),
  ];
  const names = new Map(all.map((one) => [one.name, one]));
  return {
    all,
    add({ verdict, takenBy: name }) {
      if (verdict.kind === 'taken' && only.length === 0) return;
      const rule = names.get(
        verdict.kind === 'filtered' ? verdict.rule : verdict.kind === 'taken' ? name : null,
      );
      if (rule !== undefined) rule.messages++;
    },
  };
}
