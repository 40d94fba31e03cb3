/** `calendar`: invitations and answers in the forms that Google, Outlook, Exchange and Apple send. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { mail, parsed, plain, utf8 } from './helpers.ts';

/** A message with this calendar beside its text. */
const invitation = (calendar: string[], type = 'text/calendar; charset=UTF-8; method=REQUEST') =>
  plain(
    ['Content-Type: multipart/alternative; boundary=b'],
    '--b',
    '',
    'text',
    '--b',
    `Content-Type: ${type}`,
    '',
    ...calendar,
    '--b--',
    '',
  );

const event = (...properties: string[]) => [
  'BEGIN:VCALENDAR',
  'METHOD:REQUEST',
  'BEGIN:VEVENT',
  ...properties,
  'END:VEVENT',
  'END:VCALENDAR',
];

const NOTHING = {
  method: 'REQUEST',
  uid: null,
  sequence: null,
  summary: null,
  start: null,
  end: null,
  duration: null,
  recurring: false,
  recurrenceId: null,
  organizer: null,
  attendees: [],
};

test('of Google: UTC, folded lines, the part for people and the attachment left as they were', () => {
  const document = parsed(
    invitation([
      'BEGIN:VCALENDAR',
      'PRODID:-//Google Inc//Google Calendar 70.9054//EN',
      'VERSION:2.0',
      'CALSCALE:GREGORIAN',
      'METHOD:REQUEST',
      'BEGIN:VEVENT',
      'DTSTART:20261120T100000Z',
      'DTEND:20261120T110000Z',
      'DTSTAMP:20261119T080000Z',
      'ORGANIZER;CN=Ann:mailto:ann@example.org',
      'UID:ah86k5m342bmcrbe9khkkhln00@google.com',
      'ATTENDEE;CUTYPE=INDIVIDUAL;ROLE=REQ-PARTICIPANT;PARTSTAT=NEEDS-ACTION;RSVP=',
      ' TRUE;CN=bob@example.net;X-NUM-GUESTS=0:mailto:bob@example.net',
      'ATTENDEE;PARTSTAT=ACCEPTED;CN="Ann, Sales":MAILTO:ann@example.org',
      'SEQUENCE:2',
      'SUMMARY:Offer\\, second round',
      'BEGIN:VALARM',
      'TRIGGER:-P0DT0H10M0S',
      'SUMMARY:not this one',
      'END:VALARM',
      'END:VEVENT',
      'END:VCALENDAR',
    ]),
  );
  expect(document.calendar).toEqual({
    method: 'REQUEST',
    uid: 'ah86k5m342bmcrbe9khkkhln00@google.com',
    sequence: 2,
    summary: 'Offer, second round',
    start: { time: '2026-11-20T10:00:00Z', timeZone: null },
    end: { time: '2026-11-20T11:00:00Z', timeZone: null },
    duration: null,
    recurring: false,
    recurrenceId: null,
    organizer: { name: 'Ann', address: 'ann@example.org' },
    attendees: [
      { name: 'bob@example.net', address: 'bob@example.net', participation: 'needs-action' },
      { name: 'Ann, Sales', address: 'ann@example.org', participation: 'accepted' },
    ],
  });
  expect(document).toMatchObject({
    body: 'text',
    attachments: [{ contentType: 'text/calendar' }],
    warnings: [],
  });
});

test("of Outlook and Exchange: a series in a time zone of Windows' own name", () => {
  expect(
    parsed(
      invitation([
        'BEGIN:VCALENDAR',
        'PRODID:Microsoft Exchange Server 2010',
        'METHOD:REQUEST',
        'BEGIN:VTIMEZONE',
        'TZID:W. Europe Standard Time',
        'BEGIN:STANDARD',
        'DTSTART:16010101T030000',
        'TZOFFSETFROM:+0200',
        'TZOFFSETTO:+0100',
        'RRULE:FREQ=YEARLY;INTERVAL=1;BYDAY=-1SU;BYMONTH=10',
        'END:STANDARD',
        'END:VTIMEZONE',
        'BEGIN:VEVENT',
        'SUMMARY;LANGUAGE=de-DE:Besprechung',
        'DTSTART;TZID="W. Europe Standard Time":20261120T110000',
        'DTEND;TZID=W. Europe Standard Time:20261120T113000',
        'UID:040000008200E00074C5B7101A82E008',
        'RRULE:FREQ=SECONDLY',
        'END:VEVENT',
        'END:VCALENDAR',
      ]),
    ).calendar,
  ).toMatchObject({
    summary: 'Besprechung',
    start: { time: '2026-11-20T11:00:00', timeZone: 'W. Europe Standard Time' },
    end: { time: '2026-11-20T11:30:00', timeZone: 'W. Europe Standard Time' },
    recurring: true,
  });
});

test('an answer', () => {
  const reply = event('UID:1', 'ATTENDEE;PARTSTAT=DECLINED;CN=Bob:mailto:bob@example.net');
  expect(parsed(invitation(reply.with(1, 'METHOD:reply'))).calendar).toEqual({
    ...NOTHING,
    method: 'REPLY',
    uid: '1',
    attendees: [{ name: 'Bob', address: 'bob@example.net', participation: 'declined' }],
  });
});

test.each([
  [
    'a whole day',
    ['DTSTART;VALUE=DATE:20261120', 'DTEND;VALUE=DATE:20261121'],
    { start: { time: '2026-11-20', timeZone: null }, end: { time: '2026-11-21', timeZone: null } },
  ],
  [
    'local time of wherever one is',
    ['DTSTART:20261120T110000'],
    { start: { time: '2026-11-20T11:00:00', timeZone: null } },
  ],
  [
    'IANA',
    ['DTSTART;TZID=Europe/Berlin:20261120T110000'],
    { start: { time: '2026-11-20T11:00:00', timeZone: 'Europe/Berlin' } },
  ],
  [
    'a duration',
    ['DTSTART:20261120T100000Z', 'DURATION:PT1H30M'],
    { start: { time: '2026-11-20T10:00:00Z', timeZone: null }, duration: 'PT1H30M' },
  ],
  [
    'another time for one of a series',
    ['RECURRENCE-ID;TZID=Europe/Berlin:20261120T110000', 'DTSTART;TZID=Europe/Berlin:20261120T150000'],
    {
      recurrenceId: { time: '2026-11-20T11:00:00', timeZone: 'Europe/Berlin' },
      start: { time: '2026-11-20T15:00:00', timeZone: 'Europe/Berlin' },
    },
  ],
  [
    'one day of a series',
    ['RECURRENCE-ID;VALUE=DATE:20261120'],
    { recurrenceId: { time: '2026-11-20', timeZone: null } },
  ],
  ['further dates', ['RDATE:20261121T100000Z'], { recurring: true }],
  [
    'what is no time, number or duration',
    ['DTSTART:tomorrow', 'DTEND;VALUE=DATE:x', 'RECURRENCE-ID:1', 'SEQUENCE:-1', 'DURATION:long'],
    {},
  ],
  ['text in UTF-8', [utf8('SUMMARY:Büro'), 'SUMMARY:second'], { summary: 'Büro' }],
  [
    'an organizer without an address',
    ['ORGANIZER;CN=Ann:', 'ATTENDEE:urn:x'],
    {
      organizer: { name: 'Ann', address: null },
      attendees: [{ name: null, address: 'urn:x', participation: null }],
    },
  ],
])('%s', (_, properties, holds) => {
  expect(parsed(invitation(event(...properties), 'text/calendar')).calendar).toEqual({
    ...NOTHING,
    ...holds,
  });
});

test('in another character set', () => {
  const message = invitation(event('SUMMARY:B\xfcro'), 'text/calendar; charset=iso-8859-1');
  expect(parsed(message)).toMatchObject({ calendar: { summary: 'Büro' }, warnings: [] });
});

test('the first event of several calendars, also behind one without', () => {
  const free = ['BEGIN:VCALENDAR', 'BEGIN:VFREEBUSY', 'END:VFREEBUSY', 'END:VCALENDAR'];
  expect(parsed(invitation(free))).not.toHaveProperty('calendar');
  expect(parsed(invitation([...event('UID:1'), ...event('UID:2')])).calendar?.uid).toBe('1');
  const two = invitation([...free, '--b', 'Content-Type: text/calendar', '', ...event('UID:2')]);
  expect(parsed(two).calendar?.uid).toBe('2');
});

test.each([
  ['no calendar', ['see you']],
  ['one that does not end', ['BEGIN:VCALENDAR', 'BEGIN:VEVENT', 'UID:1']],
  ['a property outside of it', ['UID:1', ...event()]],
  ['a rule that is none', event('RRULE:FREQ=NEVER')],
  ['one that is too long', event(`SUMMARY:${'x'.repeat(256 * 1024)}`)],
  ['deep ones', Array<string>(20_000).fill('BEGIN:A')],
])('%s: a warning, and the message is well', (_, calendar) => {
  const document = parsed(invitation(calendar));
  expect(document).not.toHaveProperty('calendar');
  expect(document).toMatchObject({ body: 'text', warnings: ['calendar-unread'] });
  expect(document.attachments).toHaveLength(1);
});

test('of many attendees 1,000 are given', () => {
  const many = event(...Array.from({ length: 1001 }, (_, n) => `ATTENDEE:mailto:${n}@example.org`));
  expect(parsed(invitation(many)).calendar?.attendees).toHaveLength(1000);
});

test('a calendar that is the message itself, and one that was only forwarded', () => {
  const whole = mail('Content-Type: text/calendar', '', ...event('UID:1'));
  expect(parsed(whole).calendar?.uid).toBe('1');
  expect(parsed(plain(['Content-Type: message/rfc822'], whole.toString('latin1')))).not.toHaveProperty(
    'calendar',
  );
});

test('any bytes in a calendar give a valid document', () => {
  const name = fc.constantFrom(
    'UID',
    'DTSTART',
    'DTEND',
    'RECURRENCE-ID',
    'ATTENDEE',
    'RRULE',
    'DURATION',
    'SEQUENCE',
    'BEGIN',
    'END',
    'X',
  );
  const rest = fc.string({
    unit: fc.constantFrom(';', ':', '=', '"', ',', '\\', ' ', '1', 'T', 'Z', 'VALUE', '^', '\xff', '\0'),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(name, rest)), (lines) => {
      parsed(invitation(event(...lines.map((line) => line.join('')))));
    }),
  );
});
