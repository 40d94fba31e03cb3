/** What will break but has not yet, and what looks wrong though nothing is: warnings, which make no mailbox unhealthy. */
import type { Log } from '../logging.ts';
import type { Quiet, Quota, Validity } from '../model.ts';
import { formatDuration } from '../terminal.ts';
import type { Disk } from './disks.ts';

export interface Warning {
  what: 'certificate' | 'login' | 'quota' | 'quiet' | 'disk';
  /** Of `disk`: the one that is meant. */
  directory?: string;
  /** One line for the operator. */
  text: string;
}

/** What is known of a mailbox's future; null where nobody told. */
export interface Prospects {
  certificate: Validity | null;
  /** Until when a login by OAuth2 lasts, ms. */
  loginEndsAt: number | null;
  quota: Quota | null;
  quiet: Quiet | null;
}

const DAY_MS = 86_400_000;
/** Most are renewed with a month left; of those that live for less than two months, with a third of their time left. */
const CERTIFICATE = { leftMs: 21 * DAY_MS, leftOfLife: 1 / 3 };
/** Somebody must log in by then, who may be on holiday. */
const LOGIN_LEFT_MS = 14 * DAY_MS;
/** From here on a mailbox is said to be full; beyond its end the server takes no mail for it. */
const QUOTA_USED = 0.9;
/** As Monit's own checks of these file systems. */
const DISK_USED = 0.9;
/** Somebody must make room or take the mail away by then. */
const DISK_LEFT_DAYS = 7;

const percent = (part: number): string => `${Math.floor(part * 100)} %`;

/** `ends in 12 d (2026-12-09)`; times are ms. */
export function ending(at: number, now: number): string {
  const day = new Date(at).toISOString().slice(0, 10);
  return at > now ? `ends in ${formatDuration(at - now)} (${day})` : `ended on ${day}`;
}

/** Of one mailbox at `now`, ms. */
export function mailboxWarnings(prospects: Prospects, now: number): Warning[] {
  const { certificate, loginEndsAt, quota, quiet } = prospects;
  const warnings: Warning[] = [];
  const warn = (what: Warning['what'], text: string) => warnings.push({ what, text });
  if (certificate !== null) {
    const { from, until } = certificate;
    if (until - now < Math.min(CERTIFICATE.leftMs, CERTIFICATE.leftOfLife * (until - from)))
      warn('certificate', `the mail server's certificate ${ending(until, now)}`);
  }
  if (loginEndsAt !== null && loginEndsAt - now < LOGIN_LEFT_MS)
    warn('login', `the login by OAuth2 ${ending(loginEndsAt, now)}`);
  if (quota !== null && quota.used >= QUOTA_USED * quota.limit)
    warn('quota', `${percent(quota.used / quota.limit)} of the mailbox's quota (${quota.resource}) is used`);
  if (quiet !== null)
    warn(
      'quiet',
      `no mail for ${formatDuration(now - quiet.since)}, before for ${formatDuration(quiet.longest)} at most`,
    );
  return warnings;
}

export function diskWarnings(disks: readonly Disk[]): Warning[] {
  return disks
    .filter(({ free, size, daysLeft }) => size > 0 && (free <= (1 - DISK_USED) * size || isShort(daysLeft)))
    .map(({ directory, free, size, daysLeft }) => ({
      what: 'disk',
      directory,
      text: `${percent(1 - free / size)} of the file system of ${directory} is used${
        isShort(daysLeft)
          ? `, and all of it in ${formatDuration(daysLeft * DAY_MS)}, if it fills as in the last day`
          : ''
      }`,
    }));
}

const isShort = (daysLeft: number | null): daysLeft is number =>
  daysLeft !== null && daysLeft < DISK_LEFT_DAYS;

/** Logs each warning of a mailbox (null: of the daemon) once while it lasts. */
export function createAnnouncer(log: Log): (mailbox: string | null, warnings: readonly Warning[]) => void {
  const lasting = new Map<string | null, readonly Warning[]>();
  return (mailbox, warnings) => {
    const before = lasting.get(mailbox) ?? [];
    for (const { what, directory, text } of warnings)
      if (!before.some((other) => other.what === what && other.directory === directory))
        log.warn('forewarning', { ...(mailbox !== null && { mailbox }), what, text });
    if (warnings.length > 0) lasting.set(mailbox, warnings);
    else lasting.delete(mailbox);
  };
}
