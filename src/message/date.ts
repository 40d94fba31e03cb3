/** The Date field (RFC 5322 §3.3, with its obsolete forms, and what else senders write) → RFC 3339 with its offset. */
import type { Warn } from './warnings.ts';

const MONTHS = ['jan', 'feb', 'mar', 'apr', 'may', 'jun', 'jul', 'aug', 'sep', 'oct', 'nov', 'dec'];

/** Minutes east. RFC 5322 §4.3 defines `RFC_ZONES`; the rest are in use and mean one thing in mail. */
const ZONES: Readonly<Record<string, number>> = {
  ut: 0,
  utc: 0,
  gmt: 0,
  z: 0,
  est: -300,
  edt: -240,
  cst: -360,
  cdt: -300,
  mst: -420,
  mdt: -360,
  pst: -480,
  pdt: -420,
  wet: 0,
  west: 60,
  bst: 60,
  cet: 60,
  met: 60,
  mez: 60,
  cest: 120,
  mest: 120,
  mesz: 120,
  eet: 120,
  eest: 180,
  msk: 180,
  msd: 240,
  ast: -240,
  adt: -180,
  akst: -540,
  akdt: -480,
  hst: -600,
  nst: -210,
  ndt: -150,
  jst: 540,
  kst: 540,
  hkt: 480,
  sgt: 480,
  awst: 480,
  acst: 570,
  aest: 600,
  aedt: 660,
  nzst: 720,
  nzdt: 780,
};

const RFC_ZONES = new Set(['ut', 'gmt', 'z', 'est', 'edt', 'cst', 'cdt', 'mst', 'mdt', 'pst', 'pdt']);

/** A Date field longer than this is no date; comments included, real ones stay below 100. */
const MAX_LENGTH = 400;

interface Moment {
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  /** Minutes east; null where the text tells none. */
  offset: number | null;
}

/** `2026-11-20T11:00:00+01:00`; `Z` where no zone was given. Null for what is no date: never "now". */
export function readDate(text: string, warn: Warn): string | null {
  // Single spaces, so that no pattern below can backtrack over a run of them.
  const source = withoutComments(text.slice(0, MAX_LENGTH)).replace(/\s+/g, ' ').trim();
  const moment = readMail(source, warn) ?? readIso(source, warn) ?? readOther(source, warn);
  if (moment === null || !isReal(moment)) {
    warn('date-invalid');
    return null;
  }
  return format(moment);
}

/** RFC 5322: `Fri, 20 Nov 2026 11:00:00 +0100`, day name, seconds and zone optional, the year of 2 to 4 digits. */
function readMail(source: string, warn: Warn): Moment | null {
  const match =
    /^(?:[a-z]{2,10}\.?\s*,?\s*)?(\d{1,2})(?:\s*[-\s.]\s*)([a-z]{3,10})\.?(?:\s*[-\s.,]\s*)(\d{2,4}),?(?:\s+(?:at\s+)?(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:[.,]\d{1,9})?)?\s*([ap]m)?(?:\s*([-+a-z"].*))?)?$/i.exec(
      source,
    );
  if (!match) return null;
  const month = MONTHS.indexOf((match[2] ?? '').slice(0, 3).toLowerCase());
  if (month < 0) return null;
  if (!/^(?:[a-z]{3},\s*)?\d{1,2}\s+[a-z]{3}\s+\d{4}\s+\d\d:\d\d(?::\d\d)?\s+\S+$/i.test(source))
    warn('date-repaired');
  return {
    year: fullYear(match[3] ?? ''),
    month,
    day: Number(match[1]),
    ...time(match[4], match[5], match[6], match[7]),
    offset: zone(match[8] ?? '', warn),
  };
}

/** ISO 8601: `2026-11-20T11:00:00+01:00`, also with a space and with `/`. */
function readIso(source: string, warn: Warn): Moment | null {
  const match =
    /^(?:[a-z]{3,9},\s*)?(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[T\s]\s*(\d{1,2}):(\d{1,2})(?::(\d{1,2})(?:[.,]\d{1,9})?)?\s*([ap]m)?(?:\s*([-+a-z"].*))?)?$/i.exec(
      source,
    );
  if (!match) return null;
  warn('date-repaired');
  return {
    year: Number(match[1]),
    month: Number(match[2]) - 1,
    day: Number(match[3]),
    ...time(match[4], match[5], match[6], match[7]),
    offset: zone(match[8] ?? '', warn),
  };
}

/** The month first: asctime's `Fri Nov 20 11:00:00 2026`, and `November 20, 2026 11:00`. */
function readOther(source: string, warn: Warn): Moment | null {
  const asctime =
    /^(?:[a-z]{3,9}\.?,?\s+)?([a-z]{3,9})\.?\s+(\d{1,2}),?\s+(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?\s+(?:([a-z]{1,5}|[-+]\d{4})\s+)?(\d{4})(?:\s+([-+a-z"].*))?$/i.exec(
      source,
    );
  const spelled =
    asctime === null
      ? /^(?:[a-z]{3,9}\.?,?\s+)?([a-z]{3,9})\.?\s+(\d{1,2})(?:st|nd|rd|th)?,?\s+(\d{4})(?:,?\s+(?:at\s+)?(\d{1,2}):(\d{1,2})(?::(\d{1,2}))?\s*([ap]m)?(?:\s*([-+a-z"].*))?)?$/i.exec(
          source,
        )
      : null;
  const match = asctime ?? spelled;
  const month = MONTHS.indexOf((match?.[1] ?? '').slice(0, 3).toLowerCase());
  if (!match || month < 0) return null;
  warn('date-repaired');
  if (asctime) {
    return {
      year: Number(match[7]),
      month,
      day: Number(match[2]),
      ...time(match[3], match[4], match[5], undefined),
      offset: zone(match[6] ?? match[8] ?? '', warn),
    };
  }
  return {
    year: Number(match[3]),
    month,
    day: Number(match[2]),
    ...time(match[4], match[5], match[6], match[7]),
    offset: zone(match[8] ?? '', warn),
  };
}

function time(hour = '0', minute = '0', second = '0', half: string | undefined) {
  const hours = Number(hour);
  const afternoon = half === undefined ? hours : (hours % 12) + (half.toLowerCase() === 'pm' ? 12 : 0);
  // A leap second (RFC 5322 §3.3) has no place in most consumers' types: it is the second before.
  return { hour: afternoon, minute: Number(minute), second: second === '60' ? 59 : Number(second) };
}

/** RFC 5322 §4.3: two digits below 50 are 20xx; three digits count from 1900. */
function fullYear(digits: string): number {
  const year = Number(digits);
  if (digits.length >= 4) return year;
  return digits.length === 2 && year < 50 ? 2000 + year : 1900 + year;
}

/** Minutes east; null for `-0000`, military letters but Z (RFC 5322 §4.3) and what is no zone. */
function zone(text: string, warn: Warn): number | null {
  const source = text.trim();
  const numeric = /^(?:gmt|utc?)?\s*([-+])\s*(\d{1,2}):?(\d{2})?(?:[\s"].*)?$/i.exec(source);
  if (numeric) {
    const [, sign, hours = '0', minutes = '0'] = numeric;
    const east = Number(hours) * 60 + Number(minutes);
    if (east === 0 && sign === '-') return null;
    // RFC 3339 ends at 23:59; in use are −12:00 to +14:00.
    if (Number(hours) < 24 && Number(minutes) < 60) return sign === '-' ? -east : east;
    warn('date-zone-missing');
    return null;
  }
  const name = /^"?([a-z]+)/i.exec(source)?.[1]?.toLowerCase() ?? '';
  const known = Object.hasOwn(ZONES, name) ? ZONES[name] : undefined;
  if (known !== undefined) {
    if (!RFC_ZONES.has(name)) warn('date-repaired');
    return known;
  }
  warn('date-zone-missing');
  return null;
}

/** True for a day that the calendar has: 31 February is not the third of March. */
function isReal({ year, month, day, hour, minute, second }: Moment): boolean {
  if (year < 1 || year > 9999 || hour > 23 || minute > 59 || second > 59) return false;
  const date = new Date(Date.UTC(2000, 0, 1));
  date.setUTCFullYear(year, month, day);
  return date.getUTCMonth() === month && date.getUTCDate() === day && date.getUTCFullYear() === year;
}

function format(moment: Moment): string {
  const two = (value: number) => String(value).padStart(2, '0');
  const { year, month, day, hour, minute, second, offset } = moment;
  const local = `${String(year).padStart(4, '0')}-${two(month + 1)}-${two(day)}T${two(hour)}:${two(minute)}:${two(second)}`;
  if (offset === null) return `${local}Z`;
  const size = Math.abs(offset);
  return `${local}${offset < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
}

/** RFC 5322 §3.2.2: comments nest; one that never ends is left out to the end. */
function withoutComments(text: string): string {
  if (!text.includes('(')) return text;
  let result = '';
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\\' && depth > 0) at += 1;
    else if (char === '(') depth += 1;
    else if (char === ')' && depth > 0) depth -= 1;
    else if (depth === 0) result += char;
  }
  return result;
}
