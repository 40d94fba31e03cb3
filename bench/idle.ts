/** What 20 idle mailboxes cost: CPU time, memory at start and end, log lines: node bench/idle.ts [seconds]. */

import { accountOn, createWorkplace } from '../test/dovecot/workplace.ts';
import { startDovecot } from '../test/servers/dovecot.ts';
import { familyOf } from '../test/servers/processes.ts';

const SECONDS = Number(process.argv[2] ?? 60);
const USERS = ['ann', 'bob', 'cleo', 'dan', 'eve'];
const FOLDERS = ['INBOX', 'Bills', 'Leads', 'Tickets'];

await using server = await startDovecot({ users: Object.fromEntries(USERS.map((user) => [user, user])) });
for (const user of USERS) for (const folder of FOLDERS.slice(1)) await server.createFolder(user, folder);
await using place = createWorkplace({
  accounts: USERS.map((user) => accountOn(server, user, user, user, { folders: FOLDERS })),
});
const daemon = place.start();
await place.settled(daemon);

function measure() {
  const family = familyOf(daemon.pid);
  return {
    processes: family.length,
    pss: family.reduce((sum, one) => sum + one.pss(), 0) / 2 ** 20,
    cpu: family.reduce((sum, one) => sum + one.cpuSeconds(), 0),
    lines: daemon.output().split('\n').length - 1,
  };
}

const before = measure();
await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
const after = measure();
await daemon.stop();
console.log(`${USERS.length * FOLDERS.length} mailboxes idle for ${SECONDS} s`);
console.log(`CPU ${(after.cpu - before.cpu).toFixed(2)} s, log lines ${after.lines - before.lines}`);
console.log(
  `PSS ${before.pss.toFixed(0)} MB → ${after.pss.toFixed(0)} MB, processes ${before.processes} → ${after.processes}`,
);
