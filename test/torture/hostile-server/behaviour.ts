/** What a hostile behaviour is, and the words they are written in. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import type { ErrorCode } from '../../../src/errors.ts';
import type { Certificates } from '../../servers/certificates.ts';
import type { Random } from '../../servers/random.ts';
import type { Command, ScriptedServer, ScriptedSession, Transmit } from '../../servers/scripted.ts';

export interface Tools {
  random: Random;
  certificates: Certificates;
  /** Removes a message from the server for good, where it need not be published any more. */
  remove?(uid: number): void;
}

/** One way in which a server, or the network before it, does not behave. */
export interface Behaviour {
  name: string;
  /** How the account is to be protected. Default: `none`. */
  security?: 'tls' | 'starttls' | 'none';
  /** Of which the log must name one, and no other. With `goesOn` none need be named. */
  says: ErrorCode[];
  /** What an event must say besides: which of several bounds it was. */
  because?: RegExp;
  /** The daemon gets along with it: its mail is published all the same. */
  goesOn?: boolean;
  /** It is not to hear the password, in whatever form, as long as it is hostile. */
  distrusted?: boolean;
  /** Its mailbox holds a message that is fetched in parts as well. */
  large?: boolean;
  /** How many messages lie there from the beginning; default 3. */
  messages?: number;
  /** Tries that need not come ever later, since each asks for less than the last; default 0. */
  narrowings?: number;
  /** What the account does with what is published (`after` in the configuration). */
  after?: object;
  /** How many connections belong to one attempt; default 1. */
  connectionsPerAttempt?: number;
  /** Under which name the account reaches it; default: its address. */
  host?: string;
  /** Makes a well-behaved server hostile; what a script, a hook or an option does is undone from outside. */
  spoil(server: ScriptedServer, tools: Tools): unknown;
  /** Undoes what else was done. */
  mend?(server: ScriptedServer): unknown;
}

/** Answers commands of this name in another way. */
export const instead =
  (name: string | RegExp, answer: (command: Command) => void) =>
  (server: ScriptedServer): void => {
    server.script = (command) => {
      if (typeof name === 'string' ? command.name !== name : !name.test(`${command.name} ${command.rest}`))
        return false;
      answer(command);
      return true;
    };
  };

/** Sends lines before the ordinary answer to commands of this name. */
export const before = (name: string | RegExp, lines: (command: Command) => (string | Buffer)[]) =>
  instead(name, (command) => {
    command.session.send(...lines(command));
    command.session.answer(command);
  });

/** A tagged answer with these words. */
export const refuses = (name: string | RegExp, words: string) =>
  instead(name, ({ tag, session }) => session.send(`${tag} ${words}`));

export const SIZES = /^UID FETCH .*RFC822\.SIZE/;
export const BODIES = /^UID FETCH .*BODY\.PEEK\[\]/;
/** The beginnings of messages whose sizes are not known yet. */
export const STARTS = /^UID FETCH .*RFC822\.SIZE.*BODY\.PEEK\[\]<0\./;
export const PARTS = /^UID FETCH \d+ \(UID BODY\.PEEK\[\]</;

/** Changes the lines of ordinary answers to commands of this name, the tagged one included. */
export const rewritten = (name: string | RegExp, change: (line: string) => string | string[] | null) =>
  instead(name, (command) => {
    const { session } = command;
    const send = session.send;
    session.send = (...lines) => {
      for (const line of lines)
        send(
          ...[change(line.toString('latin1') as string) ?? []]
            .flat()
            .map((each) => Buffer.from(each, 'latin1')),
        );
    };
    try {
      session.answer(command);
    } finally {
      session.send = send;
    }
  });

/** Byte by byte, with so many milliseconds in between, once `from` holds of the connection. */
export function dribble(milliseconds: number, from: (session: ScriptedSession) => boolean): Transmit {
  const queues = new Map<ScriptedSession, Buffer[]>();
  return (bytes, session, send) => {
    if (!from(session)) return send(bytes);
    const waiting = queues.get(session);
    if (waiting) return void waiting.push(bytes);
    const queue = [bytes];
    queues.set(session, queue);
    const step = () => {
      const first = queue[0];
      if (first === undefined || !session.alive()) {
        queues.delete(session);
        return;
      }
      send(first.subarray(0, 1));
      if (first.length > 1) queue[0] = first.subarray(1);
      else queue.shift();
      setTimeout(step, milliseconds).unref();
    };
    step();
  };
}

/** Resets, or closes, each connection after so many bytes of the server. */
export function cutAfter(bytesOf: (session: ScriptedSession) => number, how: 'reset' | 'close'): Transmit {
  const sent = new Map<ScriptedSession, number>();
  return (bytes, session, send) => {
    const before = sent.get(session) ?? 0;
    const limit = bytesOf(session);
    sent.set(session, before + bytes.length);
    if (before + bytes.length <= limit) return send(bytes);
    if (before <= limit) {
      if (limit > before) send(bytes.subarray(0, limit - before));
      if (how === 'reset') session.reset();
      else session.end();
    }
  };
}

/** Bytes that are sent as they are when a client connects, then perhaps its end. */
export const shouts = (bytes: Buffer | string, end: boolean) => (server: ScriptedServer) => {
  server.accept = (socket: Socket) => {
    socket.write(bytes);
    if (end) socket.end();
    return true;
  };
};

/**
 * The server's port at some address, where SYNs vanish: its listener is a stopped process with a full queue
 * of connections that it does not accept.
 */
export function blackHole(at: (server: ScriptedServer) => string) {
  const holes = new Map<ScriptedServer, { listener: ChildProcess; fillers: Socket[] }>();
  return {
    async spoil(server: ScriptedServer): Promise<void> {
      const where = JSON.stringify({ port: server.port, host: at(server), backlog: 1 });
      const program = `require('node:net').createServer().listen(${where}, () => console.log('listening'))`;
      const listener = spawn('setpriv', ['--pdeathsig', 'KILL', process.execPath, '-e', program], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      const ended = once(listener, 'exit').then(() =>
        Promise.reject(new Error('the black hole did not open')),
      );
      await Promise.race([once(listener.stdout, 'data'), ended]);
      ended.catch(() => undefined);
      listener.kill('SIGSTOP');
      const fillers = [1, 2, 3, 4].map(() => connect(server.port, at(server)).on('error', () => undefined));
      holes.set(server, { listener, fillers });
    },
    async mend(server: ScriptedServer): Promise<void> {
      const hole = holes.get(server);
      if (hole === undefined) return;
      holes.delete(server);
      for (const socket of hole.fillers) socket.destroy();
      const ended = once(hole.listener, 'exit');
      hole.listener.kill('SIGKILL');
      await ended;
    },
  };
}
