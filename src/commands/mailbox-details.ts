/** All that the running daemon tells of one mailbox, a line each: what `status ACCOUNT/FOLDER` prints. */
import { printableSentence } from '../escape.ts';
import type { Quota } from '../model.ts';
import type { MailboxStatus } from '../supervision/status.ts';
import { ending } from '../supervision/warnings.ts';
import { cell, coloured, formatBytes, formatDuration, type Output } from '../terminal.ts';

/** `now`: ms, for how long ago things were. */
export function mailboxDetails(output: Output, mailbox: MailboxStatus, now: number): string {
  const time = (text: string | null | undefined) =>
    text ? `${text} (${formatDuration(Math.max(0, now - Date.parse(text)))} ago)` : cell(null);
  const end = (text: string | null | undefined) => (text ? ending(Date.parse(text), now) : cell(null));
  const { delay, expected, stored, missing } = mailbox;
  const health = mailbox.healthy
    ? coloured(output, 'green', 'healthy')
    : coloured(output, 'red', 'not healthy');
  const lines: [string, string][] = [
    ['mailbox', cell(`${mailbox.account}/${mailbox.folder}`)],
    ['state', `${mailbox.state}, ${health}, since ${time(mailbox.since)}`],
    ['reason', mailbox.reason === null ? cell(null) : printableSentence(mailbox.reason)],
    ['server heard', time(mailbox.lastHeardAt)],
    ['news', newsLine(mailbox.worstDelay)],
    ['last push', time(mailbox.lastPushAt)],
    ['last published', time(mailbox.lastPublishedAt)],
    ['messages', `${cell(expected)} expected, ${cell(stored)} stored, ${cell(missing)} missing`],
    ['oldest waiting', time(mailbox.oldestWaiting)],
    ['quarantined', cell(mailbox.quarantined)],
    ['filtered', cell(mailbox.filtered)],
    ['delay', delay ? delayLine(delay) : cell(null)],
    ['certificate', end(mailbox.certificateEndsAt)],
    ['login', end(mailbox.loginEndsAt)],
    ['credential', mailbox.credentialChangedAt ? `changed ${time(mailbox.credentialChangedAt)}` : cell(null)],
    ['quota', mailbox.quota ? quotaText(mailbox.quota) : cell(null)],
    ...(mailbox.warnings ?? []).map(({ text }): [string, string] => ['warning', printableSentence(text)]),
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, text]) => `${name.padEnd(width)}  ${text}\n`).join('');
}

function newsLine(worstDelay: number | null | undefined): string {
  if (worstDelay === 0) return 'pushed by the server';
  return worstDelay ? `looked for within ${formatDuration(worstDelay)}` : cell(null);
}

function delayLine({ count, p50, p95, p99, max }: NonNullable<MailboxStatus['delay']>): string {
  const of = [p50, p95, p99, max].map(formatDuration);
  return `50 % within ${of[0]}, 95 % ${of[1]}, 99 % ${of[2]}, all ${of[3]} (the last ${count} messages)`;
}

/** `12 % of 1.0 GB`. */
export function quotaText({ resource, used, limit }: Quota): string {
  const whole = resource === 'storage' ? formatBytes(limit) : `${limit} messages`;
  return `${Math.floor((100 * used) / limit)} % of ${whole}`;
}
