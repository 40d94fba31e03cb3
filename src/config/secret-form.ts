/** How the configuration says where a secret is read from. */
import { typeName } from './format.ts';
import { hasControlCharacter, Secret, type SecretSource } from './secrets.ts';
import type { Fault } from './section.ts';
import type { KeyPath } from './yaml.ts';

const FORMS = 'expected a string, { file: PATH }, { env: NAME } or { command: [PROGRAM, ARGUMENT…] }';

/**
 * The source that `raw` names, or null with a fault. No fault shows anything of it, not even a key: in
 * `{hunter2}` the key is the password. `readByOthers`: others can read the configuration file, which then must
 * not hold the secret itself.
 */
export function secretSource(
  raw: unknown,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
): SecretSource | null {
  const source = secretForm(raw);
  const fault = (message: string) => faults.push({ path, part: 'value', message });
  if (typeof source === 'string') {
    fault(source);
    return null;
  }
  if ('plain' in source && readByOthers)
    fault('a plain secret in a file that others can read: chmod 600 the file, or use { file: … }');
  return source;
}

function secretForm(raw: unknown): SecretSource | string {
  if (raw === undefined || raw === null) return `${FORMS}, found nothing`;
  if (typeof raw === 'number' || typeof raw === 'boolean') {
    return `YAML reads it as ${typeName(raw)}: put it in quotes`;
  }
  if (typeof raw === 'string') {
    if (raw === '') return `${FORMS}, found an empty string`;
    if (hasControlCharacter(raw)) return 'must be one line without control characters';
    return { plain: new Secret(raw) };
  }
  if (Array.isArray(raw)) return `${FORMS}, found a list`;
  const entries = Object.entries(raw as Record<string, unknown>);
  const [entry] = entries;
  if (entry === undefined || entries.length !== 1)
    return `${FORMS}, found a mapping of ${entries.length} keys`;
  const [kind, value] = entry;
  if (kind === 'file') {
    const right = typeof value === 'string' && value.startsWith('/') && !hasControlCharacter(value);
    return right ? { file: value } : 'file: expected an absolute path';
  }
  if (kind === 'env') {
    const right = typeof value === 'string' && /^[A-Za-z_][A-Za-z0-9_]*$/.test(value);
    return right ? { env: value } : 'env: expected the name of an environment variable';
  }
  if (kind === 'command') {
    const right =
      Array.isArray(value) &&
      value.length > 0 &&
      value[0] !== '' &&
      value.every((word) => typeof word === 'string' && !word.includes('\0'));
    return right ? { command: value } : 'command: expected a list of strings: the program and its arguments';
  }
  return `${FORMS}, found a mapping with another key`;
}
