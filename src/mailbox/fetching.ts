/** Fetches messages by UID and hands them in: small ones at once, others by their sizes in ranges, then what was left out. */
import { MailwatchdError } from '../errors.ts';
import type { MessageMetadata } from '../model.ts';
import { Stopped } from './connection.ts';
import { describe, stillThere } from './describing.ts';
import { compareWithEarlier } from './epoch.ts';
import { ATTEMPTS_ALONE, countFailure, giveUp, narrow } from './failures.ts';
import { asksHeader, withoutFiltered } from './filtering.ts';
import { handIn, quarantineTooLarge } from './handin.ts';
import { discard, download, fetchStart, headerOf } from './large.ts';
import { halves, LARGE_MESSAGE_BYTES, MAX_IN_FLIGHT, rangeLength, START_BYTES, STARTS } from './ranges.ts';
import { Held, holding, type Lane, messageError, reserve, type Session } from './session.ts';
import { fetchSmall, isMostly } from './small.ts';

/** Messages whose sizes are asked for at once: two full ranges, so that memory holds few of them. */
const SLICE = 2 * MAX_IN_FLIGHT;
/** Runs of the daemon that died with a message alone in work before it is no longer fetched whole, or at all. */
const DEATHS_UNTIL_HEADER_ONLY = 3;
const DEATHS_UNTIL_UNTOUCHED = 4;
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
    memory.mostlySmall =
      asksHeader(session) ||
      isMostly(described.filter(({ size }) => size < START_BYTES).length, described.length);
    highest = described.at(-1)?.uid ?? highest;
    const wanted = await withoutKnown(session, withoutTooOld(session, described, options.since));
    for (const suspect of wanted.splice(0, memory.suspects[options.lane])) {
      await fetchAlone(session, suspect);
      memory.suspects[options.lane]--;
    }
    await fetchRanges(session, await withoutFiltered(session, wanted), options.between);
  }
  await session.flight.land();
  return highest;
}

/** True where no message needs a look at its metadata before it is fetched, and all goes well. */
function mayFetchUnseen({ memory, epoch }: Session, { lane, since = 0 }: FetchOptions): boolean {
  return (
    memory.mostlySmall &&
    !memory.ignoresPartial &&
    memory.rangeLimit === MAX_IN_FLIGHT &&
    memory.suspects[lane] === 0 &&
    !memory.cautious &&
    epoch.changedAt === null &&
    since <= 0
  );
}

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
    for (const { uid } of range) {
      memory.failures.delete(uid);
      memory.unjudged.delete(uid);
    }
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
      const start = deaths >= DEATHS_UNTIL_UNTOUCHED ? null : await fetchStart(session, message.uid);
      const header = headerOf(start ?? Buffer.alloc(0));
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
