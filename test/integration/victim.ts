/** A child process for tests: hands the messages up to a UID over through a real spool; tells each answer on stdout. */
import { writeFileSync } from 'node:fs';
import { outside } from '../../src/mailbox/ranges.ts';
import { openSpool, type SpoolOptions } from '../../src/spool/spool.ts';

const options = JSON.parse(process.argv[2] ?? '') as SpoolOptions;
const last = Number(process.argv[3]);
const spool = await openSpool(options);
const { epoch } = await spool.openEpoch(
  { account: 'support', folder: 'INBOX' },
  { uidValidity: '17', uidNext: 2 ** 32 - 1, at: 0, start: { kind: 'all' } },
);
const known = await spool.handled(epoch.id, 1, 2 ** 32 - 1, { messageBytes: 1_000, retryUnfetchable: false });

async function deliver(uid: number): Promise<void> {
  const message = { uid, size: 10, internalDate: 0, flags: [] };
  const identity = spool.identity(epoch, message);
  const target = spool.target(identity, { many: uid % 2 === 0 });
  writeFileSync(`${target.directory}/${target.stem}.json`, `{"uid":${uid}}\n`);
  await spool.accept({
    epochId: epoch.id,
    identity,
    target,
    declaredSize: 10,
    after: false,
    staged: {
      messageId: null,
      size: 10,
      sha256: uid.toString(16).padStart(64, '0'),
      hasAttachments: false,
      hasSource: false,
      warnings: [],
    },
  });
  process.stdout.write(`${uid}\n`);
}

let next = 1;
await Promise.all(
  Array.from({ length: 8 }, async () => {
    while (next <= last) {
      const uid = next;
      next += 1;
      if (outside([uid], known).length > 0) await deliver(uid);
    }
  }),
);
await spool.stop();
