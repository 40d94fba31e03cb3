/** Configurations for tests: a valid one to change, and files to load them from. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { type LoadedConfig, loadConfig } from '../../src/config/load.ts';
import { MailwatchdError } from '../../src/errors.ts';

/** A directory that is removed at the end of the test. */
export function temporaryDirectory(parent: string = tmpdir()): string {
  const directory = mkdtempSync(join(parent, 'mailwatchd-config-'));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

/** A valid account; `more` changes it. */
export const account = (more: Record<string, unknown> = {}) => ({
  name: 'support',
  host: 'imap.example.org',
  user: 'support@example.org',
  password: { file: '/run/secrets/absent' },
  start: 'new',
  ...more,
});

/** JSON is YAML. */
export function load(
  content: unknown,
  { environment = {}, mode = 0o600 }: { environment?: NodeJS.ProcessEnv; mode?: number } = {},
): Promise<LoadedConfig> {
  const file = join(temporaryDirectory(), 'mailwatchd.yaml');
  const bytes =
    typeof content === 'string' || Buffer.isBuffer(content) ? content : JSON.stringify(content, null, 1);
  writeFileSync(file, bytes, { mode });
  return loadConfig(file, environment);
}

/** The faults' lines of a configuration that is refused, without their places. */
export async function faults(...given: Parameters<typeof load>): Promise<string[]> {
  const [first = '', ...more] = (await refusal(...given)).split('\n');
  // A single fault stands in the error's one line.
  const lines = more.length === 0 ? [first.replace(/^\S+\.yaml: /, '')] : more;
  return lines.map((line) => line.trim().replace(/ \(line \d+, column \d+\)/, ''));
}

/** The whole text of a configuration that is refused. */
export async function refusal(...given: Parameters<typeof load>): Promise<string> {
  try {
    await load(...given);
  } catch (error) {
    if (error instanceof MailwatchdError && error.code === 'CONFIG_INVALID') return error.message;
    throw error;
  }
  throw new Error('the configuration was accepted');
}
