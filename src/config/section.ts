/** Checks one mapping of the configuration against its schema, and says what is wrong key by key. */
import { nearest } from '../nearest.ts';
import { typeName } from './format.ts';
import { choicesOf, isLeaf, leafAt, type Section, validate } from './schema.ts';
import type { KeyPath } from './yaml.ts';

/** `path` names the place in the file; `key` is how it is printed. */
export interface Fault {
  path: KeyPath;
  part: 'key' | 'value';
  message: string;
  /** Set where the value came from the environment. */
  variable?: string;
}

/** A name that can be meant as a key. Another may be anything: a torn text, or a password that slipped out of its place. */
const KEY_NAME = /^(?:[A-Za-z._-]{1,40}|oauth2)$/;

/** A path as it is printed: `accounts[0].port`. What is no name of a key stands as `?`. */
export function keyText(path: KeyPath): string {
  return path.reduce<string>((text, step) => {
    if (typeof step === 'number') return `${text}[${step}]`;
    const name = KEY_NAME.test(step) ? step : '?';
    return text === '' ? name : `${text}.${name}`;
  }, '');
}

/** A mapping; nothing counts as an empty one. */
export function asMapping(value: unknown, path: KeyPath, faults: Fault[]): Record<string, unknown> {
  if (value === null || value === undefined) return {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Record<string, unknown>;
  faults.push({ path, part: 'value', message: `expected a mapping of keys, found ${typeName(value)}` });
  return {};
}

/** Keeps what the schema knows, so that nothing else reaches convict, and names the rest. */
function knownKeys(
  schema: Section,
  raw: Record<string, unknown>,
  path: KeyPath,
  faults: Fault[],
  alsoKnown: readonly string[] = [],
): Record<string, unknown> {
  const known: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(raw)) {
    const node = Object.hasOwn(schema, key) ? schema[key] : undefined;
    const here = [...path, key];
    if (node === undefined) {
      const meant = nearest(key, [...Object.keys(schema), ...alsoKnown]);
      faults.push({
        path: here,
        part: 'key',
        message: `unknown key${meant === null ? '' : `, did you mean ${meant}?`}`,
      });
    } else if (!isLeaf(node)) {
      known[key] = knownKeys(node, asMapping(value, here, faults), here, faults);
    } else if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      faults.push({ path: here, part: 'value', message: `expected ${node.format}, found a mapping` });
    } else {
      known[key] = value;
    }
  }
  return known;
}

/**
 * The schema's keys with their defaults and overrides filled in; whatever is wrong with `raw` is added
 * to `faults`, and a faulty value is left as it was found. `alsoKnown` are keys that somebody else checks.
 */
export function validateSection(
  schema: Section,
  raw: Record<string, unknown>,
  path: KeyPath,
  faults: Fault[],
  environment: NodeJS.ProcessEnv,
  alsoKnown: readonly string[] = [],
): Record<string, unknown> {
  const before = faults.length;
  const known = knownKeys(schema, raw, path, faults, alsoKnown);
  const told = new Set(faults.slice(before).map((fault) => keyText(fault.path)));
  const { values, faults: found } = validate(schema, known, environment);
  for (const { key, message } of found) {
    const here = [...path, ...key.split('.')];
    if (told.has(keyText(here))) continue;
    const leaf = leafAt(schema, key);
    const variable =
      leaf?.env !== undefined && environment[leaf.env] !== undefined ? { variable: leaf.env } : {};
    const value = valueAt(values, key);
    const meant = typeof value === 'string' ? nearest(value, choicesOf(leaf?.format ?? '')) : null;
    const hint = meant === null ? '' : `, did you mean ${meant}?`;
    faults.push({ path: here, part: 'value', message: `${message}${hint}`, ...variable });
  }
  return values;
}

/** The value at a dotted key. */
export function valueAt(values: Record<string, unknown>, key: string): unknown {
  return key
    .split('.')
    .reduce<unknown>((node, step) => (node as Record<string, unknown> | null)?.[step], values);
}
