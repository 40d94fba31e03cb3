/** File systems that fail and clocks that jump, for real: what comes over the daemon, what it says, and how it ends. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Settings, Stage } from '../crash/stage.ts';

export interface Place {
  name: string;
  settings?: Settings;
  /** The daemon runs as nobody: for root there are no permissions. */
  unprivileged?: true;
  /** What the daemon's environment has more. */
  environment?(stage: Stage): Record<string, string>;
  /** Before its first start. */
  make?(stage: Stage): void;
  /** While it waits for mail; then a message comes. */
  spoil(stage: Stage): void;
  /** What `status` says of it. Null: nothing, since mail comes through. */
  tells: RegExp | null;
  mend(stage: Stage): void;
  /** What must be true at the end; words of what is not. */
  check?(stage: Stage): string[];
}

const FAKETIME = ['x86_64', 'aarch64']
  .map((machine) => `/usr/lib/${machine}-linux-gnu/faketime/libfaketimeMT.so.1`)
  .find((path) => existsSync(path));

/** Throws where Debian's package is missing. */
export function demandFaketime(): void {
  if (FAKETIME === undefined) throw new Error('libfaketime is missing: apt-get install faketime');
  process.once('exit', removeClocks);
}

/** libfaketime's shared memory outlives a process that is killed. */
function removeClocks(): void {
  for (const name of readdirSync('/dev/shm')) {
    const pid = /^(?:sem\.)?faketime_(?:sem|shm)_(\d+)$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}/exe`)) rmSync(join('/dev/shm', name), { force: true });
  }
}

type Directory = 'storage' | 'state' | 'log';

const at = (stage: Stage, directory: Directory): string => join(stage.place.directory, directory);

const mount = (...parameters: string[]) => execFileSync('mount', parameters);

/** A small file system of its own. */
const small = (directory: Directory, size: string): Pick<Place, 'make'> => ({
  make: (stage) =>
    void mount('-t', 'tmpfs', '-o', `size=${size}`, 'mailwatchd-torture', at(stage, directory)),
});

/** Of a tmpfs, bytes. */
const BLOCK = 4096;

const full = (directory: Directory, size: string, tells: RegExp | null): Place => ({
  name: `${directory} full`,
  ...small(directory, size),
  tells,
  spoil(stage) {
    // To the last byte, of files that are there as well.
    for (const name of readdirSync(at(stage, directory)).filter((each) => each.endsWith('.log'))) {
      const file = join(at(stage, directory), name);
      appendFileSync(file, Buffer.alloc((BLOCK - (statSync(file).size % BLOCK)) % BLOCK, '\n'));
    }
    for (let bytes = 65536; bytes >= 1; bytes = Math.floor(bytes / 2)) fill(stage, directory, bytes);
  },
  mend: (stage) => rmSync(join(at(stage, directory), '.filler'), { recursive: true }),
});

/** Files of this size until there is no room for another one. */
function fill(stage: Stage, directory: Directory, bytes: number): void {
  const filler = join(at(stage, directory), '.filler');
  mkdirSync(filler, { recursive: true });
  for (let count = 0; ; count++) {
    try {
      writeFileSync(join(filler, `${bytes}-${count}`), Buffer.alloc(bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOSPC') return;
      throw error;
    }
  }
}

/** Another directory is mounted in place of the storage directory. */
const volume = {
  of: (stage: Stage) => join(stage.place.directory, 'volume'),
  mount: (stage: Stage) => void mount('--bind', volume.of(stage), at(stage, 'storage')),
  unmount: (stage: Stage) => void execFileSync('umount', ['--lazy', at(stage, 'storage')]),
};

const clock = (name: string, offset: string): Place => ({
  name,
  environment: (stage) => ({
    LD_PRELOAD: FAKETIME!,
    FAKETIME_TIMESTAMP_FILE: join(stage.place.directory, 'clock'),
    FAKETIME_NO_CACHE: '1',
    // Only the time of day jumps.
    ...{ DONT_FAKE_MONOTONIC: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1', NO_FAKE_STAT: '1' },
  }),
  make: (stage) => setClock(stage, '+0'),
  spoil: (stage) => setClock(stage, offset),
  tells: null,
  mend: (stage) => setClock(stage, '+0'),
});

/** As a whole: it is read all the time. */
function setClock(stage: Stage, offset: string): void {
  const file = join(stage.place.directory, 'clock');
  writeFileSync(`${file}.new`, offset);
  renameSync(`${file}.new`, file);
}

export const PLACES: Place[] = [
  full('storage', '1m', /space/i),
  {
    name: 'storage read-only',
    ...small('storage', '4m'),
    spoil: (stage) => void mount('-o', 'remount,ro', at(stage, 'storage')),
    tells: /read-only/i,
    mend: (stage) => void mount('-o', 'remount,rw', at(stage, 'storage')),
  },
  {
    name: 'storage no longer mounted',
    tells: /mount/i,
    make(stage) {
      mkdirSync(volume.of(stage));
      volume.mount(stage);
    },
    spoil: volume.unmount,
    mend(stage) {
      const strayed = readdirSync(at(stage, 'storage'));
      writeFileSync(join(stage.place.directory, 'strayed'), strayed.join(' '));
      volume.mount(stage);
    },
    check(stage) {
      const strayed = readFileSync(join(stage.place.directory, 'strayed'), 'utf8');
      return strayed === '' ? [] : [`made under the mount point: ${strayed}`];
    },
  },
  {
    name: 'storage forbidden',
    unprivileged: true,
    spoil: (stage) => chmodSync(at(stage, 'storage'), 0),
    tells: /permission/i,
    mend: (stage) => chmodSync(at(stage, 'storage'), 0o755),
  },
  {
    name: '.staging removed',
    spoil: (stage) => rmSync(join(at(stage, 'storage'), '.staging'), { recursive: true }),
    tells: null,
    mend: () => undefined,
  },
  full('state', '4m', /space/i),
  full('log', '1m', null),
  clock('the clock jumps a day ahead', '+1d'),
  clock('the clock jumps a day back', '-1d'),
];
