/** Of the connections that an account's folders share the one on which the server pushes for all of them (RFC 5465). */
import type { Log } from '../logging.ts';
import type { Connection } from './connection.ts';
import type { OnPush } from './notify.ts';

export interface ListenerOptions {
  /** Monotonic ms. */
  now(): number;
  log: Log;
  /** The server is told of the folders so often at most, ms. */
  every: number;
  /** One that refuses, or ends the connection for it, is told again after this, ms. */
  refusedFor: number;
  /** The server pushes no more. */
  onSilence(): void;
}

export interface Listener {
  /** The one that listens, or did: IDLE is no use on it any more (RFC 5465 §4). Null before, and where it ended. */
  connection(): Connection | null;
  /** From when on the server may be told of the folders, monotonic ms. */
  dueAt(): number;
  /** Whether it is to be told: it pushes for none, or not for all of these. */
  isDue(paths: readonly string[]): boolean;
  /** Tells it on this connection, or where another one listens already, not at all. True where it pushes from now on. */
  begin(connection: Connection, paths: readonly string[], onPush: OnPush): Promise<boolean>;
  /** The connection outlived what was asked on it next. */
  answered(): void;
  /**
   * A look found what was not pushed. Dovecot 2.3 pushes nothing more once its dovecot.list.index.log was rotated, until
   * it is told again.
   */
  missed(): void;
}

/** Of one account. */
export function createListener({ now, log, every, refusedFor, onSilence }: ListenerOptions): Listener {
  let listening: Connection | null = null;
  let named: ReadonlySet<string> = new Set();
  let dueAt = 0;

  const listener: Listener = {
    connection() {
      if (listening?.isClosed()) listening = null;
      return listening;
    },
    dueAt: () => dueAt,
    isDue: (paths) => now() >= dueAt && (!listening?.isNotified() || paths.some((path) => !named.has(path))),
    async begin(connection, paths, onPush) {
      dueAt = now() + every;
      if ((listener.connection() ?? connection) !== connection || !connection.canNotify()) return false;
      // Also where the connection ends of it, be it after the server accepted: until what is asked next has its answer.
      dueAt = now() + refusedFor;
      const isAccepted = await connection.notify(paths, onPush, onSilence);
      log.debug('listening', { folders: paths.length, accepted: isAccepted });
      if (!isAccepted) return false;
      listening = connection;
      named = new Set(paths);
      return true;
    },
    answered() {
      dueAt = now() + every;
    },
    missed() {
      named = new Set();
    },
  };
  return listener;
}
