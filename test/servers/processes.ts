/** Processes as /proc shows them: who descends from whom, and what memory and time they take. */
import { readdirSync, readFileSync } from 'node:fs';

export interface Process {
  pid: number;
  command: string;
  /** Whether it is still there: a pid that was given to another process is not it. */
  exists(): boolean;
  /** SIGSTOP has taken effect, or it has ended. */
  isStopped(): boolean;
  /** Where it still is there. */
  signal(signal: NodeJS.Signals): void;
  /** Proportional set size, bytes: shared pages count in parts. 0 where it is gone. */
  pss(): number;
  /** User and system time, seconds. 0 where it is gone. */
  cpuSeconds(): number;
  /** The same of its children that it waited for, and of theirs. */
  reapedCpuSeconds(): number;
}

/** Clock ticks a second (sysconf(_SC_CLK_TCK)), the same on every Linux. */
const TICKS = 100;

/** The process and all that descends from it. */
export function familyOf(pid: number): Process[] {
  const stats = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((name) => readStat(Number(name)))
    .filter((stat) => stat !== null);
  const family = stats.filter((stat) => stat.pid === pid);
  // Grows while it is walked.
  for (const member of family) family.push(...stats.filter((stat) => stat.parent === member.pid));
  return family.map(toProcess);
}

/** All that descends from a process, without it. */
export const descendantsOf = (pid: number): Process[] => familyOf(pid).filter((one) => one.pid !== pid);

interface Stat {
  pid: number;
  command: string;
  state: string;
  parent: number;
  cpuTicks: number;
  reapedTicks: number;
  startedAt: string;
}

function toProcess(stat: Stat): Process {
  const { pid, command } = stat;
  const current = () => {
    const now = readStat(pid);
    return now && now.startedAt === stat.startedAt ? now : null;
  };
  return {
    pid,
    command,
    // A zombie has ended; its parent has not looked yet.
    exists: () => (current()?.state ?? 'Z') !== 'Z',
    isStopped: () => ['T', 'Z'].includes(current()?.state ?? 'Z'),
    signal(signal) {
      try {
        if (current()) process.kill(pid, signal);
      } catch (error) {
        // It ended in between.
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    },
    pss: () =>
      Number(/^Pss:\s+(\d+) kB/m.exec(readOrNull(`/proc/${pid}/smaps_rollup`) ?? '')?.[1] ?? 0) * 1024,
    cpuSeconds: () => (current()?.cpuTicks ?? 0) / TICKS,
    reapedCpuSeconds: () => (current()?.reapedTicks ?? 0) / TICKS,
  };
}

/** proc_pid_stat(5): the command stands in parentheses and may hold any character. */
function readStat(pid: number): Stat | null {
  const match = /^\d+ \((.*)\) (.*)$/s.exec(readOrNull(`/proc/${pid}/stat`) ?? '');
  if (!match) return null;
  const fields = match[2]!.trim().split(' ');
  return {
    pid,
    command: match[1]!,
    state: fields[0]!,
    parent: Number(fields[1]),
    cpuTicks: Number(fields[11]) + Number(fields[12]),
    reapedTicks: Number(fields[13]) + Number(fields[14]),
    startedAt: fields[19]!,
  };
}

/** Null where the process is gone, before or while it is read. */
function readOrNull(file: string): string | null {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (['ENOENT', 'ESRCH'].includes((error as NodeJS.ErrnoException).code ?? '')) return null;
    throw error;
  }
}
