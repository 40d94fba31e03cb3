/** The machine that was measured on. */
import { execFileSync } from 'node:child_process';
import { cpus, release, tmpdir, totalmem } from 'node:os';

export function machine(): Record<string, string | number> {
  const [source, filesystem] = execFileSync('findmnt', ['-no', 'SOURCE,FSTYPE', '-T', tmpdir()], {
    encoding: 'utf8',
  })
    .trim()
    .split(/\s+/);
  return {
    cores: cpus().length,
    processor: cpus()[0]?.model ?? 'unknown',
    'memory GB': Math.round(totalmem() / 1e9),
    disk: `${source}, ${filesystem}`,
    kernel: release(),
    node: process.version,
  };
}
