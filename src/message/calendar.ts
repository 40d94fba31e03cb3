/** The event of an invitation, or of an answer to one (RFC 5545, 6047). The only file that knows ical.js. */
import { createRequire } from 'node:module';
import type ical from 'ical.js';
import type { Address } from './addresses.ts';
import { cleanText } from './clean.ts';
import type { Part } from './structure.ts';
import { textOf } from './text.ts';
import { decodeTransfer } from './transfer.ts';
import type { Warn } from './warnings.ts';

/** A point of time as the calendar says it, or a day. */
export interface CalendarTime {
  /** RFC 3339, in UTC with `Z` or without an offset; a date alone for a whole day. */
  time: string;
  /**
   * Whose local time it is: a TZID, by IANA's name or one that the sender made up. Null for UTC, a day, and time that
   * is local wherever one is. No offset is made of it: that would depend on the machine's rules for time zones.
   */
  timeZone: string | null;
}

export interface Attendee extends Address {
  /** `accepted`, `declined`, `tentative`, `needs-action`, `delegated`; lower case. Null where it is not told. */
  participation: string | null;
}

/** The first event of the message. Null where the calendar does not say. */
export interface Calendar {
  /** `REQUEST`, `REPLY`, `CANCEL`, …; upper case (RFC 5546 §1.4). */
  method: string | null;
  uid: string | null;
  /** Rises with each change of the event. */
  sequence: number | null;
  summary: string | null;
  start: CalendarTime | null;
  /** Exclusive. Null also where there is `duration` instead. */
  end: CalendarTime | null;
  /** RFC 5545 §3.3.6, as `PT1H30M`. */
  duration: string | null;
  /** Whether it is a series, of which `start` is the first. */
  recurring: boolean;
  /** Which one of the series of `uid` this is about, by when it was to begin (RFC 5545 §3.8.4.4). Null: about all of it. */
  recurrenceId: CalendarTime | null;
  organizer: Address | null;
  attendees: Attendee[];
}

/** Bytes of the calendars of a message that are read. ical.js takes up to half a second for so many. */
const MAX_CALENDAR_BYTES = 256 * 1024;

/** Attendees that are given. */
const MAX_ATTENDEES = 1000;

const require = createRequire(import.meta.url);

/** Reads the first event of the message's text/calendar parts; null where there is none. */
export function readCalendar(parts: readonly Part[], hints: readonly string[], warn: Warn): Calendar | null {
  let left = MAX_CALENDAR_BYTES;
  for (const part of parts) {
    if (part.type !== 'text/calendar') continue;
    left -= part.body.length;
    if (left < 0) {
      warn('calendar-unread');
      return null;
    }
    const content = decodeTransfer(part.body, part.encoding, () => undefined);
    // RFC 5545 §3.1.4: UTF-8 where no other is named.
    const text = textOf({ ...part, charset: part.charset ?? 'utf-8' }, content, hints, warn);
    const calendar = firstComponent(parseCalendar(text, warn), 'vcalendar');
    const event = calendar && firstComponent(calendar[2], 'vevent');
    if (event) return describe(propertiesOf(calendar, warn), propertiesOf(event, warn));
  }
  return null;
}

/** One calendar or several, as jCal (RFC 7265); null where it is none. Recurrences are not expanded. */
function parseCalendar(text: string, warn: Warn): unknown[] | null {
  // Loaded here: it takes 12 ms, and few messages need it.
  const { parse } = require('ical.js') as typeof ical;
  try {
    const parsed: unknown[] = parse(text);
    return Array.isArray(parsed[0]) ? parsed : [parsed];
  } catch {
    // Besides its own errors it throws a TypeError for properties outside of a component, and others.
    warn('calendar-unread');
    return null;
  }
}

/** `[name, properties, components]`. */
type Component = [string, unknown, unknown];

const firstComponent = (components: unknown, name: string): Component | null =>
  Array.isArray(components)
    ? (components.find((one): one is Component => Array.isArray(one) && one[0] === name) ?? null)
    : null;

interface Property {
  parameter(name: string): string | null;
  value: string | null;
}

/** The properties of a component by name (`[name, parameters, type, value]`). */
function propertiesOf([, properties]: Component, warn: Warn): (name: string) => Property[] {
  const textIn = (value: unknown): string | null => {
    const [first] = Array.isArray(value) ? value : [value];
    if (typeof first === 'number') return String(first);
    return typeof first === 'string' ? cleanText(first, warn).trim() || null : null;
  };
  const all = Array.isArray(properties) ? properties : [];
  return (name) =>
    all
      .filter((one) => Array.isArray(one) && one[0] === name)
      .map(([, parameters, , value]) => ({
        parameter: (key) => textIn(parameters?.[key]),
        value: textIn(value),
      }));
}

type Properties = ReturnType<typeof propertiesOf>;

function describe(calendar: Properties, event: Properties): Calendar {
  const text = (name: string) => event(name)[0]?.value ?? null;
  const sequence = text('sequence');
  const duration = text('duration');
  const [organizer] = event('organizer');
  return {
    method: calendar('method')[0]?.value?.toUpperCase() ?? null,
    uid: text('uid'),
    sequence: sequence !== null && /^\d{1,9}$/.test(sequence) ? Number(sequence) : null,
    summary: text('summary'),
    start: timeOf(event('dtstart')[0]),
    end: timeOf(event('dtend')[0]),
    duration: duration !== null && /^[+-]?P[\dWDTHMS]{2,30}$/.test(duration) ? duration : null,
    recurring: event('rrule').length > 0 || event('rdate').length > 0,
    recurrenceId: timeOf(event('recurrence-id')[0]),
    organizer: organizer ? addressOf(organizer) : null,
    attendees: event('attendee')
      .slice(0, MAX_ATTENDEES)
      .map((attendee) => ({
        ...addressOf(attendee),
        participation: attendee.parameter('partstat')?.toLowerCase() ?? null,
      })),
  };
}

/** What ical.js makes of a value that is none has the same type. */
function timeOf(property: Property | undefined): CalendarTime | null {
  const time = property?.value ?? '';
  if (!/^\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\dZ?)?$/.test(time)) return null;
  const local = time.includes('T') && !time.endsWith('Z');
  return { time, timeZone: local ? (property?.parameter('tzid') ?? null) : null };
}

const addressOf = ({ value, parameter }: Property): Address => ({
  name: parameter('cn'),
  address: value?.replace(/^mailto:/i, '') || null,
});
