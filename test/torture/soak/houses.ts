/** Scripted servers of the soak: each misbehaves for a while, then behaves. */
import type { Certificates } from '../../servers/certificates.ts';
import type { Random } from '../../servers/random.ts';
import { type ScriptedServer, startScriptedServer } from '../../servers/scripted.ts';
import type { Behaviour } from '../hostile-server/behaviour.ts';
import { SPEECH } from '../hostile-server/speech.ts';
import { WIRE } from '../hostile-server/wire.ts';

/** Those of a server without TLS, under its address. */
export const BEHAVIOURS: Behaviour[] = [...WIRE, ...SPEECH].filter(
  ({ security = 'none', host, large = false }) => security === 'none' && host === undefined && !large,
);

/** What stays in its folder when it is tidied up. */
const KEPT = 5;

export interface House extends AsyncDisposable {
  account: string;
  /** As it stands in the configuration. */
  configured: object;
  deliver(raw: Buffer): void;
  spoil(behaviour: Behaviour, random: Random): Promise<void>;
  mend(): Promise<void>;
  tidy(): void;
}

export async function openHouse(account: string, random: Random, certificates: Certificates): Promise<House> {
  // Ports that are closed and opened again must be nobody else's.
  const address = `127.${random.between(16, 250)}.${random.between(1, 250)}.${random.between(1, 250)}`;
  const server: ScriptedServer = await startScriptedServer({ address });
  const { greeting, capabilities, certificate } = server;
  let behaviour: Behaviour | null = null;

  const house: House = {
    account,
    configured: {
      ...{ name: account, host: address, port: server.port, security: 'none' },
      ...{ user: 'ann@example.org', password: server.password },
      ...{ folders: ['INBOX'], start: 'all', pollEvery: '1s', idleRenewEvery: '3s' },
    },
    deliver: (raw) => void server.deliver('INBOX', raw),
    async spoil(next, own) {
      behaviour = next;
      await behaviour.spoil(server, { random: own, certificates });
    },
    async mend() {
      Object.assign(server, { script: undefined, accept: undefined, transmit: undefined });
      Object.assign(server, { greeting, capabilities, certificate });
      await behaviour?.mend?.(server);
      behaviour = null;
    },
    tidy() {
      const { messages } = server.folders.get('INBOX')!;
      for (const { uid } of messages.slice(0, -KEPT)) server.expunge('INBOX', uid);
      server.commands.length = 0;
      server.connectedAt.length = 0;
      server.heard = { plain: [], sealed: [] };
    },
    async [Symbol.asyncDispose]() {
      await house.mend();
      await server.close();
    },
  };
  return house;
}
