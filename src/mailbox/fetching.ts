/** Fetches messages by UID and hands them in: small ones at once, others by their sizes in ranges, then what was left out. */
import { MailwatchdError } from '../errors.ts';
import type { MessageMetadata } from '../model.ts';
import { Stopped } from './connection.ts';
import { compareWithEarlier } from './epoch.ts';
import { discard, download, fetchHeader, headerOf } from './large.ts';
import { halves, LARGE_MESSAGE_BYTES, MAX_IN_FLIGHT, rangeLength, START_BYTES, STARTS } from './ranges.ts';
import { Held, holding, type Lane, messageError, reserve, type Session } from './session.ts';

/** Messages whose sizes are asked for at once: two full ranges, so that memory holds few of them. */
const SLICE = 2 * MAX_IN_FLIGHT;
/** A message that fails so often alone is left aside, so that the rest goes on. */
const ATTEMPTS_ALONE = 3;
/** Runs of the daemon that died with a message alone in work before it is no longer fetched whole, or at all. */
const DEATHS_UNTIL_HEADER_ONLY = 3;
const DEATHS_UNTIL_UNTOUCHED = 4;
/** Of messages that are asked for without their sizes, this part must come whole for that to be cheaper. */
const MOSTLY = 0.75;
/** How much a range may exceed the sizes that were told: line ends that a server counts once, and framing. */
const SIZE_TOLERANCE = { factor: 1.1, bytes: 1024 * 1024 };

export interface FetchOptions {
  lane: Lane;
  /** INTERNALDATE (ms) before which a message is too old to be wanted. */
  since?: number;
  /** Called before each range: the place where new mail goes before back-fill. */
  between?: () => Promise<void>;
}

/**
 * Fetches the messages with these UIDs, ascending, and resolves when each is stored, quarantined, gone or
 * unfetchable, with the highest that was not gone (0: none). Throws `Held` where one cannot be stored,
 * `Stopped`, or the connection's error.
 */
export async function fetchMessages(
  session: Session,
  uids: readonly number[],
  options: FetchOptions,
): Promise<number> {
  const { memory } = session;
  let highest = 0;
  for (let from = 0, count = 0; from < uids.length; from += count) {
    await options.between?.();
    if (mayFetchUnseen(session, options)) {
      count = STARTS;
      const unseen = await fetchSmall(session, uids.slice(from, from + count));
      highest = Math.max(highest, unseen.highest);
      await fetchRanges(session, unseen.left, options.between);
      continue;
    }
    count = memory.rangeLimit < MAX_IN_FLIGHT ? memory.rangeLimit : SLICE;
    const described = await describe(session, uids.slice(from, from + count));
    memory.mostlySmall = isMostly(
      described.filter(({ size }) => size < START_BYTES).length,
      described.length,
    );
    highest = described.at(-1)?.uid ?? highest;
    const wanted = await withoutKnown(session, withoutTooOld(session, described, options.since));
    for (const suspect of wanted.splice(0, memory.suspects[options.lane])) {
      await fetchAlone(session, suspect);
      memory.suspects[options.lane]--;
    }
    await fetchRanges(session, wanted, options.between);
  }
  await session.flight.land();
  return highest;
}

/** True where no message needs a look at its metadata before it is fetched, and all goes well. */
function mayFetchUnseen({ memory, epoch }: Session, { lane, since = 0 }: FetchOptions): boolean {
  return (
    memory.mostlySmall &&
    memory.rangeLimit === MAX_IN_FLIGHT &&
    memory.suspects[lane] === 0 &&
    !memory.cautious &&
    epoch.changedAt === null &&
    since <= 0
  );
}

const isMostly = (part: number, all: number): boolean => part >= all * MOSTLY;

/** Hands in those of the messages that are small; returns the others, and the highest UID that was not gone. */
async function fetchSmall(
  session: Session,
  uids: readonly number[],
): Promise<{ left: MessageMetadata[]; highest: number }> {
  const { connection, flight, memory } = session;
  const bytes = uids.length * START_BYTES;
  await flight.room({ count: uids.length, bytes }, MAX_IN_FLIGHT);
  const release = await reserve(session, bytes);
  const missing = new Set(uids);
  const landed: Promise<void>[] = [];
  const left: MessageMetadata[] = [];
  let highest = 0;
  try {
    await connection.fetchStarts(uids, START_BYTES, (message, start) => {
      missing.delete(message.uid);
      highest = Math.max(highest, message.uid);
      if (!isWhole(message, start)) {
        left.push(message);
        return;
      }
      memory.progress = true;
      const handedIn = handIn(session, message, start);
      flight.launch(handedIn, start.length);
      landed.push(handedIn);
    });
  } catch (error) {
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) {
      if (!(error instanceof Stopped))
        await narrow(
          session,
          [...missing].map((uid) => unknown(session, uid)),
        );
      throw error;
    }
  } finally {
    void Promise.allSettled(landed).then(release);
  }
  memory.mostlySmall = isMostly(landed.length, uids.length);
  const others = await describe(session, [...missing]);
  const all = [...left, ...others].toSorted((one, other) => one.uid - other.uid);
  return { left: all, highest: Math.max(highest, others.at(-1)?.uid ?? 0) };
}

/**
 * What is shorter than it was asked for ends there, unless the server cuts short or its size is wrong: then
 * it is asked for in the usual way. What is longer comes from a server without partial FETCH.
 */
const isWhole = ({ size }: MessageMetadata, start: Buffer): boolean =>
  start.length > START_BYTES || (start.length < START_BYTES && start.length >= size);

/** Metadata of each message, in order; those gone meanwhile are dropped. What a server leaves out is asked for alone. */
async function describe(session: Session, uids: readonly number[]): Promise<MessageMetadata[]> {
  const { tally } = session;
  const rows = await askMetadata(session, uids);
  const missing = uids.filter((uid) => !rows.has(uid));
  const present = await stillThere(session, missing);
  for (const uid of missing) {
    if (!present.has(uid)) {
      tally.dropped();
      continue;
    }
    for (let attempt = 1; attempt <= ATTEMPTS_ALONE && !rows.has(uid); attempt++) {
      for (const row of (await askMetadata(session, [uid])).values()) rows.set(uid, row);
    }
    if (!rows.has(uid)) await giveUp(session, unknown(session, uid));
  }
  return uids.flatMap((uid) => rows.get(uid) ?? []);
}

async function askMetadata(session: Session, uids: readonly number[]): Promise<Map<number, MessageMetadata>> {
  try {
    return await session.connection.metadata(uids, { messageId: session.epoch.changedAt !== null });
  } catch (error) {
    if (error instanceof Stopped) throw error;
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) {
      await narrow(
        session,
        uids.map((uid) => unknown(session, uid)),
      );
      throw error;
    }
    if (uids.length === 1) return new Map();
    const rows = new Map<number, MessageMetadata>();
    for (const half of halves(uids)) for (const row of await askMetadata(session, half)) rows.set(...row);
    return rows;
  }
}

/** A message of which the server tells nothing. */
const unknown = ({ clock }: Session, uid: number): MessageMetadata => ({
  uid,
  size: 0,
  internalDate: clock.now(),
  flags: [],
});

function withoutTooOld(session: Session, messages: MessageMetadata[], since = 0): MessageMetadata[] {
  return messages.filter(({ uid, internalDate }) => {
    if (internalDate >= since) return true;
    session.memory.tooOld.add(uid);
    session.tally.dropped();
    return false;
  });
}

/** In a later epoch, messages from before the change may be known by another UID. */
async function withoutKnown(session: Session, messages: MessageMetadata[]): Promise<MessageMetadata[]> {
  const { changedAt } = session.epoch;
  if (changedAt === null) return messages;
  const old = messages.filter(
    ({ uid, internalDate }) => internalDate < changedAt && !session.memory.unmatched.has(uid),
  );
  if (old.length === 0) return messages;
  const known = await compareWithEarlier(session, old);
  for (const _ of known) session.tally.stored(false);
  return messages.filter(({ uid }) => !known.has(uid));
}

async function fetchRanges(
  session: Session,
  messages: readonly MessageMetadata[],
  between: FetchOptions['between'],
): Promise<void> {
  const { memory } = session;
  const aloneAbove = Math.min(LARGE_MESSAGE_BYTES, session.limits.messageBytes);
  /** Parts of ranges that did not come whole. */
  const again: MessageMetadata[][] = [];
  let next = 0;
  while (again.length > 0 || next < messages.length) {
    if (session.signal.aborted) throw new Stopped();
    await between?.();
    let range = again.pop();
    if (range === undefined) {
      const limit = memory.cautious ? 1 : memory.rangeLimit;
      range = messages.slice(next, next + rangeLength(messages, next, limit, aloneAbove));
      next += range.length;
    }
    const left = await fetchRange(session, range);
    if (left.length === 0) continue;
    if (range.length === 1) await failedAlone(session, range[0] as MessageMetadata, left, again);
    else again.push(...halves(left).reverse());
  }
}

async function failedAlone(
  session: Session,
  message: MessageMetadata,
  left: MessageMetadata[],
  again: MessageMetadata[][],
): Promise<void> {
  if (countFailure(session, message.uid) < ATTEMPTS_ALONE) again.push(left);
  else await giveUp(session, message);
}

function countFailure({ memory }: Session, uid: number): number {
  const failures = (memory.failures.get(uid) ?? 0) + 1;
  memory.failures.set(uid, failures);
  return failures;
}

/** Leaves a message aside until a later reconciliation, which tries it once. */
async function giveUp(session: Session, message: MessageMetadata): Promise<void> {
  const { memory, clock, ledger, epoch, log } = session;
  const error = messageError(session, message.uid, 'MESSAGE_UNFETCHABLE');
  memory.failures.set(message.uid, ATTEMPTS_ALONE - 1);
  memory.unfetchable.set(message.uid, clock.monotonic());
  log.warn('unfetchable', { uid: message.uid, size: message.size });
  await holding(ledger.recordUnfetchable(epoch.id, message, error));
}

/** Fetches one range; returns the messages that did not come although the server still has them. */
async function fetchRange(session: Session, range: MessageMetadata[]): Promise<MessageMetadata[]> {
  const { flight, memory, tally } = session;
  const first = range[0] as MessageMetadata;
  const tooLarge = first.size > session.limits.messageBytes;
  const byFile = !tooLarge && first.size > LARGE_MESSAGE_BYTES;
  const bytes = tooLarge ? 0 : range.reduce((sum, { size }) => sum + size, 0);
  const inMemory = byFile ? 0 : bytes;
  await flight.room({ count: range.length, bytes: inMemory }, memory.cautious ? 1 : MAX_IN_FLIGHT);
  const release = await reserve(session, bytes, { byFile });
  const landed: Promise<void>[] = [];
  let left: MessageMetadata[];
  try {
    left = await take(session, range, (message, held) => {
      memory.progress = true;
      flight.launch(message, held);
      landed.push(message);
    });
  } finally {
    void Promise.allSettled(landed).then(release);
  }
  if (memory.cautious) {
    // The one message got through, or none does: `land` throws what it failed with.
    await flight.land();
    if (landed.length > 0) memory.cautious = false;
  }
  if (left.length === 0) {
    for (const { uid } of range) memory.failures.delete(uid);
    memory.rangeLimit = Math.min(MAX_IN_FLIGHT, memory.rangeLimit * 2);
    return left;
  }
  const present = await stillThere(
    session,
    left.map(({ uid }) => uid),
  );
  for (const { uid } of left) if (!present.has(uid)) tally.dropped();
  return left.filter(({ uid }) => present.has(uid));
}

/** Takes up a message that is being handed in, and holds so many bytes of memory. */
type Launch = (message: Promise<void>, bytes: number) => void;

/** Gets a range from the server in the way its size asks for; returns what did not come. */
async function take(session: Session, range: MessageMetadata[], launch: Launch): Promise<MessageMetadata[]> {
  const first = range[0] as MessageMetadata;
  try {
    if (first.size > session.limits.messageBytes)
      return (await quarantineTooLarge(session, first)) ? [] : range;
    if (first.size > LARGE_MESSAGE_BYTES) return (await takeLarge(session, first, launch)) ? [] : range;
    return await takeSmall(session, range, launch);
  } catch (error) {
    if (error instanceof Stopped || error instanceof Held) throw error;
    // The server refused, but goes on: what is left is asked for in halves.
    if (error instanceof MailwatchdError && error.code === 'SERVER_REFUSED') return range;
    if (error instanceof MailwatchdError && error.code === 'FETCH_INCOMPLETE') return range;
    await narrow(session, range);
    throw error;
  }
}

async function takeSmall(
  session: Session,
  range: MessageMetadata[],
  launch: Launch,
): Promise<MessageMetadata[]> {
  const left = new Map(range.map((message) => [message.uid, message]));
  const bytes = range.reduce((sum, { size }) => sum + size, 0);
  const most = bytes * SIZE_TOLERANCE.factor + SIZE_TOLERANCE.bytes;
  try {
    await session.connection.fetchSources([...left.keys()], most, (uid, source) => {
      const message = left.get(uid) as MessageMetadata;
      left.delete(uid);
      launch(handIn(session, message, source), source.length);
    });
  } catch (error) {
    if (!(error instanceof MailwatchdError && error.code === 'SERVER_REFUSED')) throw error;
  }
  return [...left.values()];
}

/** Hands a message in; resolves when it is published or quarantined. */
async function handIn(
  session: Session,
  message: MessageMetadata,
  source: Buffer | { file: string },
): Promise<void> {
  const { intake, epoch, tally, limits, memory } = session;
  if (Buffer.isBuffer(source) && source.length > limits.messageBytes) {
    await refuse(session, { ...message, size: source.length }, headerOf(source));
    return;
  }
  try {
    await holding(intake.accept({ ...message, epoch, source }));
  } catch (error) {
    if (!(error instanceof Held && error.error.code === 'FILE_EXISTS')) throw error;
    // This one's place is taken, the others' are not: it waits for a reconciliation, they do not.
    memory.obstructed.set(message.uid, error.error);
    return;
  }
  tally.stored(true);
}

async function takeLarge(session: Session, message: MessageMetadata, launch: Launch): Promise<boolean> {
  const path = session.intake.downloadPath(session.epoch, message.uid);
  const result = await download(session, message, path);
  if (result === 'missing') return false;
  if (result === 'too-large') {
    const size = Math.max(message.size, session.limits.messageBytes + 1);
    return quarantineTooLarge(session, { ...message, size });
  }
  launch(
    handIn(session, message, { file: path }).finally(() => discard(session, path)),
    0,
  );
  return true;
}

/** False where the server does not even give the header. */
async function quarantineTooLarge(session: Session, message: MessageMetadata): Promise<boolean> {
  const header = await fetchHeader(session, message.uid);
  if (header === null) return false;
  await refuse(session, message, header);
  return true;
}

async function refuse(session: Session, message: MessageMetadata, header: Buffer): Promise<void> {
  const { messageBytes } = session.limits;
  const detail = `${message.size} bytes, limits.messageBytes is ${messageBytes}`;
  const error = messageError(session, message.uid, 'MESSAGE_TOO_LARGE', detail);
  await holding(session.intake.quarantineUnread(session.epoch, message, header, error));
  session.tally.stored(false);
}

/** A FETCH ended its connection: the next one asks for less, and a message that did so alone three times is left aside. */
async function narrow(session: Session, range: MessageMetadata[]): Promise<void> {
  const { memory } = session;
  if (range.length > 1) {
    memory.progress = true;
    memory.rangeLimit = Math.max(1, Math.floor(range.length / 2));
    return;
  }
  const message = range[0] as MessageMetadata;
  if (countFailure(session, message.uid) < ATTEMPTS_ALONE) return;
  await giveUp(session, message);
}

/**
 * One message with nothing else in work in the whole process, so that, should the daemon die, it is known
 * what died with it. The attempt is committed before it begins.
 */
async function fetchAlone(session: Session, message: MessageMetadata): Promise<void> {
  const { ledger, intake, epoch, flight, tally } = session;
  await flight.land();
  const release = await reserve(session, message.size, { alone: true });
  try {
    const deaths = await holding(ledger.beginAlone(epoch.id, message.uid));
    if (deaths >= DEATHS_UNTIL_HEADER_ONLY) {
      const untouched = Buffer.alloc(0);
      const header =
        deaths >= DEATHS_UNTIL_UNTOUCHED
          ? untouched
          : ((await fetchHeader(session, message.uid)) ?? untouched);
      const error = messageError(session, message.uid, 'DAEMON_KILLED');
      await holding(intake.quarantineUnread(epoch, message, header, error));
      tally.stored(false);
      return;
    }
    // In the usual way, but for the reservation, which is held already.
    await fetchRanges(
      {
        ...session,
        intake: { ...intake, reserve: async () => () => undefined },
      },
      [message],
      undefined,
    );
    await flight.land();
  } finally {
    release();
  }
}

/** Which of these UIDs the server still has. */
async function stillThere(session: Session, uids: readonly number[]): Promise<Set<number>> {
  return uids.length === 0 ? new Set() : new Set(await session.connection.existing(uids));
}
