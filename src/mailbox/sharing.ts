/**
 * An account with more folders than connections: who has one. The busiest folders keep one and wait in IDLE; at least
 * one serves the rest, which are asked about in turn (`Connection.status`) and get it for as long as their work takes.
 * Where the server has NOTIFY one of these, the listener, hears of all of them at once: a hint that is never relied on.
 */
import { sleep } from '../clock.ts';
import { type MailwatchdError, toMailwatchdError } from '../errors.ts';
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import { backoff } from './backoff.ts';
import { type Connection, type Selected, Stopped } from './connection.ts';
import { type FolderStatus, moved } from './folder-status.ts';
import { isOfTheFolder } from './folders.ts';
import { createListener } from './listener.ts';
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
/** A server that refuses one more connection for its number, or to push, is asked again after this. */
const GROW_MS = 60 * 60_000;
/** What arrived counts for half as much after this. */
const BUSY_HALF_LIFE_MS = 60 * 60_000;
/** A folder is opened for a hint so long after it had a connection last; after a wrong one twice as long, up to a look. */
const HINT_MS = 1_000;
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
  /** The server told of other figures than `seen`, by itself or asked; `at`: monotonic ms. */
  hint: { at: number; isPush: boolean } | null;
  /** The highest UIDNEXT that was pushed since the server was asked last: what it answers may be older. */
  pushedUidNext: number;
  /** How long after `since` a hint opens the folder, ms. */
  patience: number;
  /** On which connection it was pushed for; null before, and where a look found what was not pushed. */
  heardOn: Connection | null;
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
  /** A look also proves the listener alive, as the renewal of IDLE does. */
  const listenEvery = Math.min(lookEvery, account.idleRenewEvery);
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
  /** As the connection that was made last could. */
  let notifies = false;
  let exchangedAt = Number.NEGATIVE_INFINITY;
  let cancelAlarm: () => void = () => undefined;
  let closed = false;

  const now = () => clock.monotonic();
  const freeLines = () => [...lines].filter(({ user }) => user === null);
  const listener = createListener({ now, log, every: listenEvery, refusedFor: GROW_MS, onSilence: pump });
  const listens = ({ connection }: Line) => connection === listener.connection();
  /** Of the folder that is open on it the listener hears nothing: whoever works takes another one, if there is one. */
  const freeLine = () => freeLines().find((line) => !listens(line)) ?? freeLines()[0];
  /** One connection always serves the rest. */
  const mayKeep = (place: Place) => places.indexOf(place) < capacity - 1;
  const lookInterval = () => (listener.connection() === null ? lookEvery : listenEvery);
  const lookDueAt = ({ lookedAt }: Place) => lookedAt + lookInterval();
  const hintDueAt = ({ since, patience }: Place) => since + patience;
  const away = () => places.filter((place) => place.away !== null);
  const isLookDue = () => !looking && (away().some((place) => lookDueAt(place) <= now()) || isListenerDue());
  const isAtWork = (place: Place) => [...lines].some(({ user }) => user === place);
  const pathsSeen = () => places.flatMap(({ seen }) => seen?.path ?? []);
  /** One that is being opened is named as well: it is waited for. */
  const isListenerDue = () =>
    notifies &&
    waiters.length === 0 &&
    away().length > 0 &&
    listener.isDue(pathsSeen()) &&
    !places.some((place) => place.seen === null && isAtWork(place));
  /** Urgent ones are as if they had waited for `pollEvery` already. */
  const rank = ({ urgent, since }: Waiter) => since - (urgent ? account.pollEvery : 0);

  /** Gives each free connection to who needs it most, and sees that there are enough of them. */
  function pump(): void {
    cancelAlarm();
    if (closed) return;
    for (const line of lines) if (line.user === null && line.connection.isClosed()) lines.delete(line);
    if (now() >= growAt) capacity = most;
    for (const place of away()) if (place.hint !== null && hintDueAt(place) <= now()) place.away?.tell();
    let line = freeLine();
    if (line !== undefined && isLookDue() && !(lookedLast && waiters.length > 0)) {
      void look(freeLines().find(listens) ?? line);
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
    const hinted = away().filter(({ hint }) => hint !== null);
    const looks = looking ? [] : [...away().map(lookDueAt), listener.dueAt()];
    const alarms = [...looks, ...hinted.map(hintDueAt), openAt, growAt].filter((at) => at > now());
    if (alarms.length > 0) cancelAlarm = clock.after(Math.min(...alarms) - now(), pump);
  }

  /** Where a connection is to spare beside the one that serves the rest, the busiest folder that is away comes and keeps it. */
  function recallKeeper(): void {
    const keeper = places.find((place) => place.away !== null && mayKeep(place));
    if (!idles || keeper === undefined) return;
    const isListening = listener.connection() !== null;
    const spare = freeLines().filter((line) => !listens(line)).length;
    const mayOpen = opening === null && lines.size < capacity && now() >= openAt;
    if (isListening ? spare > 0 : spare > 1 || (spare === 1 && mayOpen)) keeper.away?.tell();
    else if (isListening && mayOpen) void open();
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
      notifies = connection.canNotify();
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
    let asked: Place[] = [];
    try {
      // Before the look, which asks about all of them then, so that nothing falls in between.
      const begun = isListenerDue() && (await listen(line));
      asked = away()
        .filter((place) => begun || now() - place.lookedAt >= lookInterval() / 2)
        .sort((a, b) => a.lookedAt - b.lookedAt)
        .slice(0, connection.can('LIST-STATUS') ? LOOK_AT.together : LOOK_AT.alone);
      for (const place of asked) place.pushedUidNext = 0;
      const told = await connection.status(asked.flatMap(({ seen }) => seen?.path ?? []));
      if (begun) listener.answered();
      for (const place of asked) {
        const { seen } = place;
        const figures = told.get(seen?.path ?? '');
        if (figures === undefined || seen === null) {
          place.away?.tell();
        } else if (moved(seen, figures)) {
          if (place.hint === null && !begun) {
            place.heardOn = null;
            listener.missed();
          }
          place.away?.tell();
        } else {
          answered(place, figures, false);
          lookedAt(place);
        }
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

  function listen({ connection }: Line): Promise<boolean> {
    return listener.begin(connection, pathsSeen(), (path, told) => {
      const place = places.find(({ seen }) => seen?.path === path);
      if (place === undefined) return;
      const { uidNext = 0 } = told;
      if (uidNext > place.pushedUidNext) place.pushedUidNext = uidNext;
      place.heardOn = connection;
      hint(place, told, true);
    });
  }

  /** What the server tells is not believed: at most the folder is opened, and the ledger asked. */
  function hint(place: Place, told: Partial<FolderStatus>, isPush: boolean): void {
    const { seen } = place;
    if (place.hint !== null || seen === null || !moved(seen, { ...seen, ...told })) return;
    place.hint = { at: now(), isPush };
    pump();
  }

  /** Settles a hint, unless a push overtook the answer. */
  function answered(place: Place, { uidNext }: FolderStatus, wasTrue: boolean): void {
    if (place.hint === null) return;
    place.patience = wasTrue ? HINT_MS : Math.min(2 * place.patience, lookEvery);
    place.hint = place.pushedUidNext > uidNext ? { at: now(), isPush: true } : null;
  }

  function lookedAt(place: Place): void {
    const { seen, keeping, hint } = place;
    if (seen !== null && !keeping) {
      const isHeard = place.heardOn?.isNotified() === true;
      const delay = hint !== null ? now() - hint.at : isHeard ? 0 : now() - place.lookedAt;
      place.delays = [...place.delays, delay].slice(-DELAYS);
    }
    place.lookedAt = now();
    place.away?.onLook(Math.max(...place.delays), clock.now());
  }

  /** The work of a folder ended well. While it was open the listener heard nothing of it. */
  async function settle(line: Line, place: Place): Promise<void> {
    try {
      const path = place.seen?.path;
      if (listens(line) && path !== undefined)
        hint(place, (await line.connection.status([path])).get(path) ?? {}, false);
      worked(line);
    } catch (thrown) {
      await drop(line, thrown);
    }
  }

  async function drop(line: Line, thrown: unknown): Promise<void> {
    lines.delete(line);
    if (!line.controller.signal.aborted)
      trouble(toMailwatchdError(thrown, 'INTERNAL', { where: account.name }), line.troubles === troubles);
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
        hint: null,
        pushedUidNext: 0,
        patience: HINT_MS,
        heardOn: null,
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
                place.pushedUidNext = 0;
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
          place.keeping = false;
          const line = lineOf(connection);
          const ended = line?.controller.signal.aborted || (error !== null && !isOfTheFolder(error));
          if (line !== undefined) await (ended ? drop(line, error) : settle(line, place));
          signal.removeEventListener('abort', end);
          if (line === undefined) return;
          line.user = null;
          pump();
        },

        saw(selected) {
          const { seen } = place;
          if (seen?.uidValidity === selected.uidValidity) {
            place.busy = busyNow(place) + Math.max(0, selected.uidNext - seen.uidNext);
            place.busyAt = now();
          }
          lookedAt(place);
          answered(place, selected, seen === null || moved(seen, selected));
          place.seen = selected;
        },

        keeps(connection) {
          idles = connection.canIdle();
          // In IDLE it was looked at all the time.
          if (place.keeping) place.lookedAt = now();
          // Whoever waits goes first; who keeps it already is not disturbed for that.
          place.keeping =
            idles &&
            connection !== listener.connection() &&
            mayKeep(place) &&
            (place.keeping || waiters.length === 0);
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
          return place.hint?.isPush === true;
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
