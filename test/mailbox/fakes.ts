/** The ports of mailbox/ in memory: what the ledger and the way into the spool promise, nothing more. */
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createBudget } from '../../src/budget.ts';
import type { MailwatchdError } from '../../src/errors.ts';
import { candidateOf, judge } from '../../src/filter.ts';
import { parseMessage } from '../../src/message/document.ts';
import { judgeDocument, judgeStart } from '../../src/message/judging.ts';
import type { Epoch, Extensions, FetchedMessage, Mailbox, MessageMetadata } from '../../src/model.ts';
import type { Intake, MailboxLedger, Observation } from '../../src/ports.ts';

export interface Row {
  state: 'published' | 'quarantined' | 'unfetchable' | 'filtered' | 'carried';
  messageId: string | null;
  size: number;
  sha256: string | null;
  /** Why it was quarantined or left aside. */
  error?: MailwatchdError;
  /** What of it was quarantined. */
  header?: Buffer;
  owed: boolean;
  claimed: boolean;
}

export interface FakeLedger extends MailboxLedger {
  epochs: (Epoch & { highest: number; held: number | null })[];
  rows: Map<number, Map<number, Row>>;
  /** Set to make the next openings say so. */
  suspects: boolean;
  /** How often each UID's run died with it alone. */
  deaths: Map<number, number>;
  /** Each beginAlone, in order. */
  alone: number[];
  /** Set to make every call reject. */
  failure: MailwatchdError | null;
  owesAfterActions: boolean;
  /** When its mail came, ms, ascending. */
  history: number[];
  /** UIDs of filtered messages that are to be judged anew. */
  toJudge: Set<number>;
  /** Those that were not there any more. */
  gone: number[];
  states(epoch?: number): Record<number, Row['state']>;
}

export function createLedger(): FakeLedger {
  const guard = async () => {
    if (ledger.failure) throw ledger.failure;
  };
  const rowsOf = (epochId: number) => {
    const rows = ledger.rows.get(epochId) ?? new Map<number, Row>();
    ledger.rows.set(epochId, rows);
    return rows;
  };
  const current = () => ledger.epochs.at(-1);
  const epochOf = (id: number) => ledger.epochs.find((epoch) => epoch.id === id)!;
  const earlier = (epochId: number) =>
    [...ledger.rows]
      .filter(([id]) => id < epochId)
      .flatMap(([, rows]) => [...rows.values()].filter((row) => !row.claimed));
  const claim = (epochId: number, message: MessageMetadata, row: Row) => {
    row.claimed = true;
    const { messageId, size, sha256 } = row;
    rowsOf(epochId).set(message.uid, {
      state: 'carried',
      messageId,
      size,
      sha256,
      owed: false,
      claimed: false,
    });
  };
  const ledger: FakeLedger = {
    epochs: [],
    rows: new Map(),
    suspects: false,
    deaths: new Map(),
    alone: [],
    failure: null,
    owesAfterActions: false,
    history: [],
    toJudge: new Set(),
    gone: [],
    states: (epoch = current()?.id ?? 0) =>
      Object.fromEntries([...rowsOf(epoch)].map(([uid, row]) => [uid, row.state])),

    async openEpoch(mailbox: Mailbox, { uidValidity, uidNext, highestUid = 0, at, start }: Observation) {
      await guard();
      const last = current();
      const changed = last && (last.uidValidity !== uidValidity || (uidNext > 0 && uidNext < last.highest));
      if (!last || changed) {
        const generation = ledger.epochs.filter((epoch) => epoch.uidValidity === uidValidity).length;
        ledger.epochs.push({
          ...mailbox,
          id: ledger.epochs.length + 1,
          label: generation === 0 ? uidValidity : `${uidValidity}.${generation}`,
          uidValidity,
          openedAt: at,
          firstUidNext: uidNext || highestUid + 1,
          start: last?.start ?? start,
          watchedSince: last?.watchedSince ?? at,
          scannedThrough: (uidNext || highestUid + 1) - 1,
          changedAt: changed ? at : null,
          compared: !changed,
          highest: uidNext,
          held: null,
        });
      }
      const epoch = current()!;
      epoch.highest = Math.max(epoch.highest, uidNext);
      return {
        epoch: { ...epoch },
        hold: epoch.held !== null ? ('EPOCH_UNCLEAR' as const) : null,
        suspects: ledger.suspects,
        warnings: [],
      };
    },
    async handled(epochId, low, high, { retryUnfetchable }) {
      await guard();
      const uids = [...rowsOf(epochId)]
        .filter(
          ([uid, row]) => uid >= low && uid <= high && !(retryUnfetchable && row.state === 'unfetchable'),
        )
        .filter(([uid]) => !ledger.toJudge.has(uid))
        .map(([uid]) => uid)
        .sort((a, b) => a - b);
      return Uint32Array.from(uids.flatMap((uid) => [uid, uid]));
    },
    async advance(epochId, scannedThrough) {
      await guard();
      const epoch = epochOf(epochId);
      epoch.scannedThrough = Math.max(epoch.scannedThrough, scannedThrough);
      epoch.highest = Math.max(epoch.highest, scannedThrough + 1);
    },
    async matchEarlier(epochId, candidates) {
      const result = { matched: [] as number[], ambiguous: [] as number[], unmatched: [] as number[] };
      const key = (message: { messageId?: string | null; size: number }) =>
        `${message.messageId} ${message.size}`;
      for (const candidate of candidates) {
        if (rowsOf(epochId).has(candidate.uid)) {
          result.matched.push(candidate.uid);
          continue;
        }
        const rows = earlier(epochId).filter((row) => key(row) === key(candidate));
        const twins = candidates.filter((other) => key(other) === key(candidate));
        const row = rows[0];
        if (row === undefined) {
          const silent =
            candidate.messageId === null && earlier(epochId).some((each) => each.messageId === null);
          result[silent ? 'ambiguous' : 'unmatched'].push(candidate.uid);
        } else if (rows.length > 1 || twins.length > 1 || candidate.messageId === null) {
          result.ambiguous.push(candidate.uid);
        } else {
          claim(epochId, candidate, row);
          result.matched.push(candidate.uid);
        }
      }
      return result;
    },
    async matchByHash(epochId, candidate, sha256) {
      const row = earlier(epochId).find((each) => each.sha256 === sha256);
      if (row) claim(epochId, candidate, row);
      return row !== undefined;
    },
    async markCompared(epochId) {
      epochOf(epochId).compared = true;
    },
    async holdEpoch(epochId, unmatched) {
      epochOf(epochId).held = unmatched;
    },
    async beginAlone(_epochId, uid) {
      ledger.alone.push(uid);
      return ledger.deaths.get(uid) ?? 0;
    },
    async recordUnfetchable(epochId, message, error) {
      await guard();
      const { uid, size } = message;
      const row: Row = {
        state: 'unfetchable',
        messageId: null,
        size,
        sha256: null,
        error,
        owed: false,
        claimed: false,
      };
      rowsOf(epochId).set(uid, row);
    },
    async lastArrival() {
      return ledger.history.at(-1) ?? null;
    },
    async rhythm() {
      const { history } = ledger;
      const gaps = history.slice(1).map((at, index) => at - history[index]!);
      const [firstAt = 0] = history;
      const lastAt = history.at(-1) ?? 0;
      return { arrivals: history.length, firstAt, lastAt, longest: Math.max(0, ...gaps), complete: true };
    },
    async toJudgeAnew() {
      await guard();
      return [...ledger.toJudge].toSorted((a, b) => a - b);
    },
    async recordGone(_epochId, uids) {
      for (const uid of uids) ledger.toJudge.delete(uid);
      ledger.gone.push(...uids);
    },
    async owedAfterActions(epochId, limit) {
      return [...rowsOf(epochId)]
        .filter(([, row]) => row.owed)
        .map(([uid]) => uid)
        .slice(0, limit);
    },
    async settleAfterActions(epochId, uids) {
      for (const uid of uids) rowsOf(epochId).get(uid)!.owed = false;
    },
  };
  return ledger;
}

export interface Published {
  uid: number;
  epoch: string;
  source: string;
  size: number;
  flags: string[];
  internalDate: number;
  /** Whether it came as a file. */
  extensions?: Extensions;
  file: boolean;
}

export interface FakeIntake extends Intake, Disposable {
  published: Published[];
  filtered: { uid: number; rule: string }[];
  /** UIDs in accept that have not resolved, in the order of their coming. */
  working: number[];
  mostWorking: number;
  /** What reserve was asked for. */
  reserved: { bytes: number; alone: boolean }[];
  /** Decides what becomes of a message: rejects to refuse it, waits to hold it. */
  gate: ((message: FetchedMessage) => Promise<void>) | null;
}

/** Publishes into an array, in the ledger's order of commit. */
export function createIntake(ledger: FakeLedger, capacity = 64 * 1024 * 1024): FakeIntake {
  const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-intake-'));
  const budget = createBudget(capacity);
  const record = (epoch: Epoch, uid: number, row: Row) => {
    const rows = ledger.rows.get(epoch.id) ?? new Map<number, Row>();
    if (rows.get(uid)?.state === 'published') throw new Error(`UID ${uid} was published twice`);
    ledger.rows.set(epoch.id, rows.set(uid, row));
    ledger.toJudge.delete(uid);
  };
  const filtered = ({ epoch, uid, size }: MessageMetadata & { epoch: Epoch }, rule: string) => {
    intake.filtered.push({ uid, rule });
    const nothing = { messageId: null, sha256: null, owed: false, claimed: false };
    record(epoch, uid, { state: 'filtered', size, ...nothing });
  };
  const intake: FakeIntake = {
    filtered: [],
    published: [],
    working: [],
    mostWorking: 0,
    reserved: [],
    gate: null,
    async reserve(bytes, options) {
      intake.reserved.push({ bytes, alone: options.alone });
      return budget.reserve(bytes, options);
    },
    async accept(message, filter) {
      const { epoch, uid, internalDate } = message;
      intake.working.push(uid);
      intake.mostWorking = Math.max(intake.mostWorking, intake.working.length);
      try {
        await intake.gate?.(message);
        const file = !Buffer.isBuffer(message.source);
        const source = Buffer.isBuffer(message.source) ? message.source : readFileSync(message.source.file);
        const text = source.toString('latin1');
        const candidate = filter && candidateOf(filter, message, Date.now());
        const verdict = candidate && judgeDocument(parseMessage(source, { identity: null }), candidate);
        if (verdict?.kind === 'filtered') {
          filtered(message, verdict.rule);
          return 'filtered';
        }
        record(epoch, uid, {
          state: 'published',
          messageId: /^message-id: *<(.*)>/im.exec(text)?.[1] ?? null,
          size: source.length,
          sha256: createHash('sha256').update(source).digest('hex'),
          owed: ledger.owesAfterActions,
          claimed: false,
        });
        const { flags, extensions } = message;
        intake.published.push({
          uid,
          epoch: epoch.label,
          source: text,
          size: source.length,
          flags,
          internalDate,
          ...(extensions && { extensions }),
          file,
        });
        return 'published';
      } finally {
        intake.working.splice(intake.working.indexOf(uid), 1);
      }
    },
    async leaveOut({ start, ...message }, filter) {
      const candidate = candidateOf(filter, message, Date.now());
      const verdict = start === null ? judge(candidate, null, null) : judgeStart(start, candidate).verdict;
      if (verdict.kind === 'filtered') filtered(message, verdict.rule);
      return verdict.kind === 'filtered';
    },
    async quarantineUnread(epoch, { uid, size }, header, error) {
      record(epoch, uid, {
        state: 'quarantined',
        messageId: null,
        size,
        sha256: null,
        error,
        header,
        owed: false,
        claimed: false,
      });
    },
    downloadPath: (epoch, uid) => join(directory, `${epoch.id}-${uid}.raw`),
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
  return intake;
}
