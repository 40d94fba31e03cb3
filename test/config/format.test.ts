/** Durations, sizes, modes and dates are read as they are documented, and nothing else is. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parseDate, parseDuration, parseMode, parseSize } from '../../src/config/format.ts';

test('durations', () => {
  expect(['500ms', '60s', '5m', '2h', '14d', '0s', '60S'].map(parseDuration)).toEqual([
    500, 60_000, 300_000, 7_200_000, 1_209_600_000, 0, 60_000,
  ]);
  expect(
    ['', '60', 's', '-1s', '1.5s', '1 s', '1s ', '1w', '1e3s', '9999999999999s', '1toString'].map(
      parseDuration,
    ),
  ).toEqual(Array(11).fill(null));
});

test('sizes are binary multiples', () => {
  expect(['1b', '1kb', '64mb', '1gb', '20MB'].map(parseSize)).toEqual([
    1, 1024, 67_108_864, 1_073_741_824, 20_971_520,
  ]);
  expect(['64', '64m', '64mib', 'mb', '-1kb', '999999999999gb'].map(parseSize)).toEqual(Array(6).fill(null));
});

test('modes are octal', () => {
  expect(['0640', '640', '2770', '7777'].map(parseMode)).toEqual([0o640, 0o640, 0o2770, 0o7777]);
  expect(['0o640', '0840', '64', '00640', 'rw', '-640', ''].map(parseMode)).toEqual(Array(7).fill(null));
});

test('dates are days of the calendar, 00:00 UTC', () => {
  expect(parseDate('2026-11-01')).toBe(Date.UTC(2026, 10, 1));
  expect(parseDate('2024-02-29')).toBe(Date.UTC(2024, 1, 29));
  expect(
    ['2026-02-29', '2026-13-01', '2026-00-10', '2026-11-31', '26-11-01', '2026-1-1', '2026-11-01T00:00'].map(
      parseDate,
    ),
  ).toEqual(Array(7).fill(null));
  const day = fc.date({ min: new Date('0000-01-01'), max: new Date('9999-12-31'), noInvalidDate: true });
  fc.assert(
    fc.property(day, (date) => {
      const text = date.toISOString().slice(0, 10);
      expect(parseDate(text)).toBe(Date.parse(text));
    }),
  );
});
