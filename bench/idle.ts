/** What mailboxes cost while nothing happens in them. */
import { setTimeout as wait } from 'node:timers/promises';
import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { familyOf } from '../test/servers/processes.ts';
import type { Bench } from './bench.ts';
import { memoryOf } from './measure.ts';

const USERS = ['ann', 'bob', 'cleo', 'dan', 'eve'];
const FOLDERS = ['INBOX', 'Bills', 'Leads', 'Tickets'];

export const idle: Bench = {
  name: 'idle',
  description: 'CPU, memory and log lines of 20 mailboxes that nothing happens in',
  async run({ seconds, tell }) {
    await using server = await startDovecot({ users: Object.fromEntries(USERS.map((user) => [user, user])) });
    for (const user of USERS) for (const folder of FOLDERS.slice(1)) await server.createFolder(user, folder);
    await using place = createWorkplace({
      accounts: USERS.map((user) => accountOn(server, user, user, user, { folders: FOLDERS })),
    });
    const daemon = place.start();
    await place.settled(daemon);
    const measure = () => ({
      cpu: familyOf(daemon.pid).reduce((sum, one) => sum + one.cpuSeconds() + one.reapedCpuSeconds(), 0),
      memory: memoryOf(daemon.pid),
      lines: daemon.output().split('\n').length,
    });
    tell(`idle for ${seconds} s`);
    const before = measure();
    await wait(seconds * 1000);
    const after = measure();
    await daemon.stop();
    const row = {
      seconds,
      'CPU s': Number((after.cpu - before.cpu).toFixed(2)),
      '% of a core': Number((((after.cpu - before.cpu) / seconds) * 100).toFixed(2)),
      'PSS MB, first': Math.round(before.memory / 1e6),
      'PSS MB, last': Math.round(after.memory / 1e6),
      'log lines': after.lines - before.lines,
    };
    return [{ title: `${USERS.length * FOLDERS.length} idle mailboxes`, rows: [row] }];
  },
};
