/** Many mailboxes on a server each, whose connections all end at once: how fast they come back. */
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { startScriptedServer } from '../test/servers/scripted.ts';
import { until } from '../test/servers/until.ts';
import type { Bench } from './bench.ts';

const WITHIN_MS = 300_000;
const PASSWORD = 'secret-pa55word';

export const comeback: Bench = {
  name: 'comeback',
  description: 'many mailboxes on a server each, all cut at once: connections a second',
  async run({ mailboxes, tell }) {
    await using servers = new AsyncDisposableStack();
    const town = await Promise.all(
      Array.from({ length: mailboxes }, async (_, index) =>
        servers.use(await startScriptedServer({ address: `127.0.${1 + (index >> 8)}.${index & 255}` })),
      ),
    );
    await using place = createWorkplace({
      accounts: town.map(({ address, port }, index) =>
        accountOn({ host: address, imapPort: port }, `account${index}`, 'ann@example.org', PASSWORD),
      ),
    });
    tell(`${mailboxes} mailboxes start`);
    const daemon = place.start();
    await place.settled(daemon, WITHIN_MS);
    const allWait = (since: number) =>
      town.every(
        ({ sessions, connectedAt }) =>
          (connectedAt.at(-1) ?? 0) > since && [...sessions].some(({ idling }) => idling),
      );
    await until('all to wait for mail', () => allWait(0), WITHIN_MS);

    tell('all connections end');
    const cut = performance.now();
    for (const { sessions } of town) for (const session of sessions) session.destroy();
    await until('all to come back', () => allWait(cut), WITHIN_MS);
    const times = town.flatMap(({ connectedAt }) => connectedAt.filter((at) => at > cut));
    const seconds = times.map((at) => Math.floor((at - cut) / 1000));
    const rows = Array.from({ length: Math.max(...seconds) + 1 }, (_, second) => ({
      second,
      connections: seconds.filter((each) => each === second).length,
    }));
    const most = Math.max(...rows.map(({ connections }) => connections));
    return [
      {
        title: `${mailboxes} mailboxes on a host each come back after a cut`,
        rows: [{ connections: times.length, 'most in a second': most, 'last after, s': rows.length }],
        plot: {
          rows,
          name: 'comeback',
          kind: 'lines',
          by: 'second',
          values: ['connections'],
          unit: 'a second',
        },
      },
    ];
  },
};
