/** How a folder comes by a connection: one of its own, or one that the folders of its account share (`sharing.ts`). */
import type { Clock } from '../clock.ts';
import type { Log } from '../logging.ts';
import { type AccountSettings, type ConnectAccountOptions, connectAccount } from './account.ts';
import type { Connection, Selected } from './connection.ts';
import type { Lane } from './session.ts';

/** Thrown where a folder has worked long enough while others wait for a connection: it goes on in its next turn. */
export class GaveWay extends Error {}

export interface Seat {
  /** Whether connections are shared: then one is held only for the work on it, or to wait in IDLE while `keeps`. */
  readonly shared: boolean;
  /**
   * A connection for this folder alone, until it is given back, which `leave` asks for while it is kept. `urgent` ones
   * come first, but keep nobody waiting for ever. Rejects with what connecting failed with, or `Stopped`.
   */
  take(options: { urgent: boolean; leave(): void }): Promise<Connection>;
  /** `error`: what ended the work on it, null where it came to its end. */
  giveBack(connection: Connection, error: unknown): Promise<void>;
  /** What the folder holds: news is what differs from it. */
  saw(selected: Selected): void;
  /** Whether the folder may wait for news on its connection. */
  keeps(connection: Connection): boolean;
  /** Throws `GaveWay` where it is others' turn; back-fill gives way sooner than new mail. */
  giveWay(lane: Lane): void;
  /**
   * Without a connection: resolves at news, after `milliseconds`, or when `signal` aborts; true where the server told by
   * itself. `onLook` hears of each look: how long news waited lately, at most (ms), and when it was (ms since the epoch).
   */
  news(
    milliseconds: number,
    signal: AbortSignal,
    onLook: (worstDelay: number, at: number) => void,
  ): Promise<boolean>;
  /** Somebody may have mended what stood in the way: connects without waiting for the end of a back-off. */
  hurry(): void;
  /** The folder is watched no more. */
  leave(): Promise<void>;
}

/** A connection of the folder's own, for as long as it is watched. */
export function ownConnection(
  account: AccountSettings,
  options: ConnectAccountOptions & { clock: Clock; log: Log },
): Seat {
  let everConnected = false;
  return {
    shared: false,
    async take() {
      const connection = await connectAccount(account, options);
      // Once: a server that ends connections every half hour is no news.
      options.log[everConnected ? 'debug' : 'info']('connected', {
        server: `${account.host}:${account.port}`,
      });
      everConnected = true;
      return connection;
    },
    giveBack: (connection) => connection.logout(),
    saw: () => undefined,
    keeps: () => true,
    giveWay: () => undefined,
    news: async () => false,
    hurry: () => undefined,
    leave: async () => undefined,
  };
}
