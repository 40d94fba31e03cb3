/** How durations, sizes, modes, dates and tests of a text are written in the configuration. */
import type { TextTest } from '../filter.ts';
import { patternFault } from '../pattern.ts';

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Binary multiples, whatever the case: `64mb` is 64 × 1024 × 1024 bytes. */
const SIZE_UNITS: Readonly<Record<string, number>> = { b: 1, kb: 1024, mb: 1024 ** 2, gb: 1024 ** 3 };

/** `500ms`, `60s`, `5m`, `2h`, `14d` in milliseconds; null where it is not one. */
export function parseDuration(text: string): number | null {
  return quantity(text, DURATION_UNITS);
}

/** `512b`, `64kb`, `20mb`, `1gb` in bytes; null where it is not one. */
export function parseSize(text: string): number | null {
  return quantity(text, SIZE_UNITS);
}

function quantity(text: string, units: Readonly<Record<string, number>>): number | null {
  const match = /^(\d{1,12})([a-z]{1,2})$/i.exec(text);
  const unit = units[match?.[2]?.toLowerCase() ?? ''];
  if (match === null || unit === undefined) return null;
  const value = Number(match[1]) * unit;
  return Number.isSafeInteger(value) ? value : null;
}

/** An octal mode such as `0640` or `2770`, as a number; null where it is not one. */
export function parseMode(text: string): number | null {
  return /^[0-7]{3,4}$/.test(text) ? Number.parseInt(text, 8) : null;
}

/** A day of the calendar, `2026-11-01`, as its 00:00 UTC in milliseconds; null where there is no such day. */
export function parseDate(text: string): number | null {
  if (!/^\d{4}-\d\d-\d\d$/.test(text)) return null;
  const at = Date.parse(`${text}T00:00:00Z`);
  // Date.parse takes 2026-02-30 for 2 March.
  return Number.isNaN(at) || new Date(at).toISOString().slice(0, 10) !== text ? null : at;
}

/** Longer ones are a list that belongs somewhere else. */
const MAX_TEST_CHARS = 1000;

/** A text to look for, or what begins with a slash: `/expression/` or `/expression/i`. Null for what only begins so. */
export function parseTextTest(text: string): TextTest | null {
  if (!text.startsWith('/')) return { contains: text };
  const [, source, flag] = /^\/(.+)\/(i?)$/s.exec(text) ?? [];
  return source === undefined ? null : { source, ignoreCase: flag === 'i' };
}

/** What is wrong with a test of a text, without the text itself; null for one that is right. */
export function textTestFault(value: unknown): string | null {
  if (typeof value !== 'string') return `found ${typeName(value)}`;
  if (value === '' || value.length > MAX_TEST_CHARS)
    return `found ${value === '' ? 'an empty one' : `one of more than ${MAX_TEST_CHARS} characters`}`;
  const test = parseTextTest(value);
  if (test === null) return 'found one that begins with a slash and does not end in / or /i';
  const fault = 'contains' in test ? null : patternFault(test);
  return fault === null ? null : `found a regular expression that RE2 refuses: ${fault}`;
}

/** A dot-string at a domain (RFC 5321 §4.1.2), ASCII. */
export function isAddress(text: string): boolean {
  return /^[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*$/.test(
    text,
  );
}

/** What a value is, for faults that must not show it. */
export function typeName(value: unknown): string {
  if (value === null || value === undefined) return 'nothing';
  if (Array.isArray(value)) return 'a list';
  switch (typeof value) {
    case 'string':
      return 'a string';
    case 'boolean':
      return 'true or false';
    case 'object':
      return 'a mapping';
    default:
      return 'a number';
  }
}
