/** `mailwatchd status`: the running daemon's mailboxes, as a table, as data, or as a verdict for monitoring. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { EXIT, MailwatchdError } from '../errors.ts';
import { printable, printableSentence } from '../escape.ts';
import {
  allWarnings,
  type DaemonStatus,
  type MailboxStatus,
  readStatus,
  reasonOf,
  unhealthy,
} from '../supervision/status.ts';
import { asJson, cell, coloured, formatDuration, type Output, table } from '../terminal.ts';
import type { Invocation } from './invocation.ts';
import { mailboxDetails } from './mailbox-details.ts';

export interface StatusOptions {
  /** `ACCOUNT/FOLDER`: of this one alone, and all that is known of it. */
  mailbox: string | null;
  json: boolean;
  check: boolean;
}

/**
 * Exit status 1 where the daemon is DOWN or UNKNOWN and, with `check`, where a mailbox is not healthy:
 * then a line each says which and why. USAGE for a mailbox that the running daemon does not watch.
 */
export async function status(
  { configFile, environment, stdout, stderr }: Invocation,
  { mailbox, json, check }: StatusOptions,
): Promise<number> {
  const { config } = await loadConfig(configFile, environment);
  const directories = [config.state.directory, config.storage.directory];
  const { status: whole, reason } = await readStatus(config.state.directory, directories, systemClock);
  const alive = reason === null;
  const status = mailbox === null || !alive ? whole : only(mailbox, whole);
  const ill = unhealthy(status);
  const warnings = allWarnings(status).map(({ mailbox: of, text }) =>
    printableSentence(['warning', of, text].filter((part) => part !== null).join(': ')),
  );

  if (json) stdout.write(`${asJson(stdout, status, 2)}\n`);
  if (!alive) {
    (json ? stderr : stdout).write(`${coloured(stdout, 'red', status.state)}: ${reason}\n`);
  } else if (check) {
    const verdicts = ill.map(({ mailbox, reason }) => `${printable(mailbox)}: ${printableSentence(reason)}`);
    const count = status.mailboxes.length;
    const wellness = json ? [] : [`OK: ${count} ${count === 1 ? 'mailbox' : 'mailboxes'}`, ...warnings];
    const lines = ill.length > 0 ? verdicts : wellness;
    (json ? stderr : stdout).write(lines.map((line) => `${line}\n`).join(''));
  } else if (!json) {
    const { pid, version, startedAt } = status;
    stdout.write(
      `${coloured(stdout, 'green', status.state)}: pid ${pid}, version ${version}, since ${startedAt}\n\n`,
    );
    const now = systemClock.now();
    stdout.write(
      mailbox === null
        ? mailboxTable(stdout, status.mailboxes, now)
        : status.mailboxes.map((each) => mailboxDetails(stdout, each, now)).join('\n'),
    );
    const general = (status.warnings ?? []).map(({ text }) => `warning: ${printableSentence(text)}\n`);
    if (general.length > 0) stdout.write(`\n${general.join('')}`);
  }
  return alive && (!check || ill.length === 0) ? EXIT.OK : EXIT.CHECK_FAILED;
}

function only(mailbox: string, status: DaemonStatus): DaemonStatus {
  const mailboxes = status.mailboxes.filter(({ account, folder }) => `${account}/${folder}` === mailbox);
  if (mailboxes.length > 0) return { ...status, mailboxes };
  throw new MailwatchdError('USAGE', {
    detail: `the running daemon watches no mailbox "${printable(mailbox)}"`,
    remedy: '`mailwatchd status` shows those that it does',
  });
}

const within = (milliseconds: number | null | undefined): string | null =>
  milliseconds ? `≤ ${formatDuration(milliseconds)}` : null;

const HEADINGS = [
  'MAILBOX',
  'STATE',
  'EXPECTED',
  'STORED',
  'MISSING',
  'QUARANTINED',
  'FILTERED',
  'HEARD',
  'LOOKS',
  'PUBLISHED',
  'DELAY',
  'REASON',
];

/** HEARD and PUBLISHED as ages, DELAY as what 95 of 100 messages keep: narrow enough for a terminal. */
function mailboxTable(output: Output, mailboxes: MailboxStatus[], now: number): string {
  const age = (time: string | null) => cell(time && formatDuration(Math.max(0, now - Date.parse(time))));
  const rows = mailboxes.map((mailbox) => [
    cell(`${mailbox.account}/${mailbox.folder}`),
    coloured(output, colourOf(mailbox), mailbox.state),
    cell(mailbox.expected),
    cell(mailbox.stored),
    cell(mailbox.missing),
    cell(mailbox.quarantined),
    cell(mailbox.filtered),
    age(mailbox.lastHeardAt),
    cell(mailbox.worstDelay === 0 ? 'push' : within(mailbox.worstDelay)),
    age(mailbox.lastPublishedAt),
    cell(mailbox.delay && formatDuration(mailbox.delay.p95)),
    sentence(reasonOf(mailbox)),
  ]);
  return table(output, HEADINGS, rows);
}

const sentence = (text: string | null): string => (text === null ? cell(null) : printableSentence(text));

const colourOf = ({ healthy, warnings = [] }: MailboxStatus) =>
  healthy ? (warnings.length > 0 ? 'yellow' : 'green') : 'red';
