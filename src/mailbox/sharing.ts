/**
 * An account with more folders than connections: who has one. The busiest folders keep one and wait in IDLE; at least
 * one serves the rest, which are asked about in turn (`Connection.status`) and get it for as long as their work takes.
 */
import { sleep } from '../clock.ts';
import { type MailwatchdError, toMailwatchdError } from '../errors.ts';
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import { backoff } from './backoff.ts';
import { type Connection, type Selected, Stopped } from './connection.ts';
import { moved } from './folder-status.ts';
import { isOfTheFolder } from './folders.ts';
import { GaveWay, type Seat } from './seat.ts';

export interface SharingOptions extends Omit<ConnectAccountOptions, 'signal'> {
  account: AccountSettings;
  /** limits.connectionsPerAccount: at most so many at once. */
  connections: number;
  /** In [0, 1); for the jitter. */
  random?: () => number;
}

export interface Sharing {
  /** For one more folder. Its work ends with `signal`, and with it the connection that it then has. */
  seat(signal: AbortSignal): Seat;
}

/** A look at half of `pollEvery` leaves the other half for the server's answers and for the folders that are before. */
const LOOKS_PER_POLL = 2;
/** Folders that one look asks about, by one command or one by one: others who need the connection wait for it. */
const LOOK_AT = { together: 100, alone: 10 };
/** So many of the last times between two looks are remembered. */
const DELAYS = 16;
/** A folder's work goes on so long while another one has news, or waits for the rest of its own; then it gives way. */
const SLICE_MS = { urgent: 500, other: 10_000 };
/** A server that refuses one more connection for its number is asked again after this. */
const GROW_MS = 60 * 60_000;
/** What arrived counts for half as much after this. */
const BUSY_HALF_LIFE_MS = 60 * 60_000;
/** A folder takes another one's IDLE when it is so much busier (and one message more), and not more often. */
const BUSIER = 2;
const EXCHANGE_MS = 10 * 60_000;

interface Line {
  connection: Connection;
  /** Ends it and whatever runs on it. */
  controller: AbortController;
  /** Whose it is; `look` while it is used for one, null where it is free. */
  user: Place | 'look' | null;
  /** How much trouble there had been when it was made: what it does says nothing of later trouble. */
  troubles: number;
}

interface Place {
  /** What the folder held when it was seen last; null before. */
  seen: Selected | null;
  /** Monotonic ms: when nothing was new, or its work began. */
  lookedAt: number;
  delays: number[];
  /** What arrived lately, as of `busyAt`. */
  busy: number;
  busyAt: number;
  /** While it waits for news without a connection. */
  away: { tell(): void; onLook(worstDelay: number, at: number): void } | null;
  /** Since when it has its connection, monotonic ms. */
  since: number;
  /** While it waits for news on its connection. */
  keeping: boolean;
  /** Asks for the connection back. */
  leave(): void;
}

interface Waiter {
  place: Place;
  urgent: boolean;
  since: number;
  take(line: Line): void;
  refuse(error: unknown): void;
}

/** Shares the connections of one account among the folders that take a seat. */
export function shareConnections(options: SharingOptions): Sharing {
  const { account, connections: most, clock, log } = options;
  const random = options.random ?? Math.random;
  const lookEvery = account.pollEvery / LOOKS_PER_POLL;
  /** The busiest first, in the order of the configuration at the start; changed by `exchange` only. */
  const places: Place[] = [];
  const waiters: Waiter[] = [];
  const lines = new Set<Line>();
  /** What is being connected: one at a time, so that a server that refuses is asked once. */
  let opening: AbortController | null = null;
  let looking = false;
  /** The last turn was a look's: where both want one, looks and waiters take turns, so that neither starves. */
  let lookedLast = false;
  /** As many as `most`, or as the server bears: then more are tried at `growAt`, monotonic ms. */
  let capacity = most;
  let growAt = 0;
  let isLimited = false;
  /** Until then (monotonic ms) no connection is tried. */
  let openAt = 0;
  /** Since the server last worked on a connection that was made after them. */
  let failures = 0;
  /** All that there ever were. */
  let troubles = 0;
  let idles = true;
  let exchangedAt = Number.NEGATIVE_INFINITY;
  let cancelAlarm: () => void = () => undefined;
  let closed = false;

  const now = () => clock.monotonic();
  const freeLine = () => [...lines].find(({ user }) => user === null);
  /** One connection always serves the rest. */
  const mayKeep = (place: Place) => places.indexOf(place) < capacity - 1;
  const lookDueAt = (place: Place) => place.lookedAt + lookEvery;
  const away = () => places.filter((place) => place.away !== null);
  const isLookDue = () => !looking && away().some((place) => lookDueAt(place) <= now());
  /** Urgent ones are as if they had waited for `pollEvery` already. */
  const rank = ({ urgent, since }: Waiter) => since - (urgent ? account.pollEvery : 0);

  /** Gives each free connection to who needs it most, and sees that there are enough of them. */
  function pump(): void {
    cancelAlarm();
    if (closed) return;
    for (const line of lines) if (line.user === null && line.connection.isClosed()) lines.delete(line);
    if (now() >= growAt) capacity = most;
    let line = freeLine();
    if (line !== undefined && isLookDue() && !(lookedLast && waiters.length > 0)) {
      void look(line);
      line = freeLine();
    }
    while (line !== undefined && waiters.length > 0) {
      const first = waiters.reduce((a, b) => (rank(b) < rank(a) ? b : a));
      waiters.splice(waiters.indexOf(first), 1);
      first.take(line);
      lookedLast = false;
      line = freeLine();
    }
    const isWanted = waiters.length > 0 || isLookDue();
    if (isWanted && opening === null && lines.size < capacity && now() >= openAt) void open();
    else if (!isWanted) recallKeeper();
    const alarms = [...(looking ? [] : away().map(lookDueAt)), openAt, growAt].filter((at) => at > now());
    if (alarms.length > 0) cancelAlarm = clock.after(Math.min(...alarms) - now(), pump);
  }

  /** Where more than one connection is to spare, the busiest folder that is away comes and keeps it. */
  function recallKeeper(): void {
    const free = [...lines].filter(({ user }) => user === null).length;
    const mayOpen = opening === null && lines.size < capacity && now() >= openAt;
    if (!idles || free === 0 || (free === 1 && !mayOpen)) return;
    places.find((place) => place.away !== null && mayKeep(place))?.away?.tell();
  }

  async function open(): Promise<void> {
    const controller = new AbortController();
    opening = controller;
    try {
      const connection = await connectAccount(account, { ...options, signal: controller.signal });
      try {
        // Else imapflow asks for each folder by itself before it is opened first.
        await connection.listFolders();
      } catch (error) {
        await connection.logout();
        throw error;
      }
      if (lines.size === most - 1) isLimited = false;
      lines.add({ connection, controller, user: null, troubles });
      log.debug('connected', { server: `${account.host}:${account.port}`, connections: lines.size });
      if (closed) await dismiss();
    } catch (thrown) {
      if (!closed) notConnected(toMailwatchdError(thrown, 'INTERNAL', { where: account.name }));
    } finally {
      opening = null;
      pump();
    }
  }

  function notConnected(error: MailwatchdError): void {
    // The others serve all folders: then this is no folder's trouble, and a server that bears no more works.
    const isLimit = lines.size > 0 && error.code === 'SERVER_UNAVAILABLE';
    trouble(error, !isLimit);
    if (lines.size === 0) {
      for (const { refuse } of waiters.splice(0)) refuse(error);
      for (const place of away()) place.away?.tell();
      return;
    }
    capacity = lines.size;
    growAt = isLimit ? now() + GROW_MS : openAt;
    const fields = { connections: lines.size, code: error.code, reason: error.message };
    log[isLimit && !isLimited ? 'warn' : 'debug']('connections_limited', fields);
    isLimited ||= isLimit;
    for (const place of places) if (place.keeping && !mayKeep(place)) place.leave();
  }

  /** A connection failed: the next one is not tried at once. `isNew`: not of the same trouble as the last one. */
  function trouble(error: MailwatchdError, isNew: boolean): void {
    if (isNew) {
      failures++;
      troubles++;
    }
    const wait = (error.retryAfter ?? 0) + backoff(isNew ? failures : 1, error.retry, random());
    openAt = Math.max(openAt, now() + wait);
  }

  /** Its work came to an end: whatever trouble there was before it is over. */
  function worked(line: Line): void {
    if (line.troubles === troubles) failures = 0;
  }

  /** Asks about those that were not looked at for longest. */
  async function look(line: Line): Promise<void> {
    looking = true;
    lookedLast = true;
    line.user = 'look';
    const { connection } = line;
    const asked = away()
      .filter((place) => now() - place.lookedAt >= lookEvery / 2)
      .sort((a, b) => a.lookedAt - b.lookedAt)
      .slice(0, connection.can('LIST-STATUS') ? LOOK_AT.together : LOOK_AT.alone);
    try {
      const told = await connection.status(asked.flatMap(({ seen }) => seen?.path ?? []));
      for (const place of asked) {
        const figures = told.get(place.seen?.path ?? '');
        if (figures === undefined || place.seen === null || moved(place.seen, figures)) place.away?.tell();
        else lookedAt(place);
      }
      worked(line);
    } catch (thrown) {
      const error = toMailwatchdError(thrown, 'INTERNAL', { where: account.name });
      log.debug('look_failed', { code: error.code, reason: error.message });
      await drop(line, error);
      // Whoever cannot be asked about is opened, and tells of the trouble where it lasts.
      for (const place of asked) place.away?.tell();
    } finally {
      looking = false;
      line.user = null;
      exchange();
      pump();
    }
  }

  function lookedAt(place: Place): void {
    if (place.seen !== null && !place.keeping)
      place.delays = [...place.delays, now() - place.lookedAt].slice(-DELAYS);
    place.lookedAt = now();
    place.away?.onLook(Math.max(...place.delays), clock.now());
  }

  async function drop(line: Line, error: MailwatchdError): Promise<void> {
    lines.delete(line);
    trouble(error, line.troubles === troubles);
    await line.connection.logout();
  }

  const busyNow = ({ busy, busyAt }: Place) => busy * 0.5 ** ((now() - busyAt) / BUSY_HALF_LIFE_MS);

  /** A folder that became much busier than one that waits in IDLE takes its place. */
  function exchange(): void {
    if (now() - exchangedAt < EXCHANGE_MS) return;
    const least = places
      .slice(0, capacity - 1)
      .reduce<Place | undefined>((a, b) => (a !== undefined && busyNow(a) < busyNow(b) ? a : b), undefined);
    const busiest = places
      .slice(capacity - 1)
      .reduce<Place | undefined>((a, b) => (a !== undefined && busyNow(a) >= busyNow(b) ? a : b), undefined);
    if (least === undefined || busiest === undefined) return;
    if (busyNow(busiest) <= BUSIER * busyNow(least) + 1) return;
    exchangedAt = now();
    const [to, from] = [places.indexOf(least), places.indexOf(busiest)];
    places[to] = busiest;
    places[from] = least;
    if (least.keeping) least.leave();
  }

  /** Ends all connections, once the last folder has left. */
  async function dismiss(): Promise<void> {
    opening?.abort();
    const left = [...lines];
    lines.clear();
    for (const { controller } of left) controller.abort();
    await Promise.all(left.map(({ connection }) => connection.logout()));
  }

  return {
    seat(signal) {
      const place: Place = {
        seen: null,
        lookedAt: now(),
        delays: [],
        busy: 0,
        busyAt: now(),
        away: null,
        since: 0,
        keeping: false,
        leave: () => undefined,
      };
      places.push(place);
      closed = false;
      const lineOf = (connection: Connection) => [...lines].find((line) => line.connection === connection);
      let end: () => void = () => undefined;

      return {
        shared: true,

        take: ({ urgent, leave }) =>
          new Promise((resolve, reject) => {
            if (signal.aborted) return reject(new Stopped());
            const waiter: Waiter = {
              place,
              urgent,
              since: now(),
              take(line) {
                signal.removeEventListener('abort', stop);
                line.user = place;
                place.since = now();
                place.leave = leave;
                end = () => line.controller.abort();
                signal.addEventListener('abort', end, { once: true });
                resolve(line.connection);
              },
              refuse(error) {
                signal.removeEventListener('abort', stop);
                reject(error);
              },
            };
            const stop = () => {
              waiters.splice(waiters.indexOf(waiter), 1);
              reject(new Stopped());
            };
            signal.addEventListener('abort', stop, { once: true });
            waiters.push(waiter);
            pump();
          }),

        async giveBack(connection, error) {
          signal.removeEventListener('abort', end);
          place.keeping = false;
          const line = lineOf(connection);
          if (line === undefined) return;
          line.user = null;
          if (line.controller.signal.aborted) {
            lines.delete(line);
            await connection.logout();
          } else if (error === null || isOfTheFolder(error)) worked(line);
          else await drop(line, toMailwatchdError(error, 'INTERNAL', { where: account.name }));
          pump();
        },

        saw(selected) {
          const { seen } = place;
          if (seen?.uidValidity === selected.uidValidity) {
            place.busy = busyNow(place) + Math.max(0, selected.uidNext - seen.uidNext);
            place.busyAt = now();
          }
          lookedAt(place);
          place.seen = selected;
        },

        keeps(connection) {
          idles = connection.canIdle();
          // In IDLE it was looked at all the time.
          if (place.keeping) place.lookedAt = now();
          // Whoever waits goes first; who keeps it already is not disturbed for that.
          place.keeping = idles && mayKeep(place) && (place.keeping || waiters.length === 0);
          return place.keeping;
        },

        giveWay(lane) {
          if (place.keeping && mayKeep(place)) return;
          const worked = now() - place.since;
          const isUrgent = lane === 'backfill' && (isLookDue() || waiters.some(({ urgent }) => urgent));
          const gives = isUrgent
            ? worked >= SLICE_MS.urgent
            : worked >= SLICE_MS.other && (waiters.length > 0 || isLookDue());
          if (gives) throw new GaveWay();
        },

        async news(milliseconds, until, onLook) {
          const told = new AbortController();
          const tell = () => {
            place.away = null;
            told.abort();
          };
          place.away = { tell, onLook };
          until.addEventListener('abort', tell, { once: true });
          if (until.aborted) tell();
          pump();
          await sleep(clock, milliseconds, told.signal);
          until.removeEventListener('abort', tell);
          place.away = null;
        },

        hurry() {
          openAt = 0;
          growAt = 0;
          pump();
        },

        async leave() {
          places.splice(places.indexOf(place), 1);
          closed = places.length === 0;
          if (!closed) return pump();
          cancelAlarm();
          await dismiss();
        },
      };
    },
  };
}
