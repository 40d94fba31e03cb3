/** `mailwatchd status`: the running daemon's mailboxes, as a table, as data, or as a verdict for monitoring. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { EXIT } from '../errors.ts';
import { printable, printableSentence } from '../escape.ts';
import { type MailboxStatus, readStatus, unhealthy } from '../supervision/status.ts';
import { asJson, cell, coloured, table } from '../terminal.ts';
import type { Invocation } from './invocation.ts';

/**
 * Exit status 1 where the daemon is DOWN or UNKNOWN and, with `check`, where a mailbox is not healthy:
 * then a line each says which and why.
 */
export async function status(
  { configFile, environment, stdout, stderr }: Invocation,
  { json, check }: { json: boolean; check: boolean },
): Promise<number> {
  const { config } = await loadConfig(configFile, environment);
  const directories = [config.state.directory, config.storage.directory];
  const { status, reason } = await readStatus(config.state.directory, directories, systemClock);
  const alive = reason === null;
  const ill = unhealthy(status);

  if (json) stdout.write(`${asJson(stdout, status, 2)}\n`);
  if (!alive) {
    (json ? stderr : stdout).write(`${coloured(stdout, 'red', status.state)}: ${reason}\n`);
  } else if (check) {
    const verdicts = ill.map(
      ({ mailbox, reason }) => `${printable(mailbox)}: ${printableSentence(reason)}\n`,
    );
    (json ? stderr : stdout).write(
      ill.length > 0
        ? verdicts.join('')
        : json
          ? ''
          : `OK: ${status.mailboxes.length} ${status.mailboxes.length === 1 ? 'mailbox' : 'mailboxes'}\n`,
    );
  } else if (!json) {
    stdout.write(
      `${coloured(stdout, 'green', status.state)}: pid ${status.pid}, version ${status.version}, since ${status.startedAt}\n\n`,
    );
    stdout.write(
      table(
        stdout,
        HEADINGS,
        status.mailboxes.map((mailbox) => row(mailbox, stdout)),
      ),
    );
  }
  return alive && (!check || ill.length === 0) ? EXIT.OK : EXIT.CHECK_FAILED;
}

const HEADINGS = [
  'MAILBOX',
  'STATE',
  'EXPECTED',
  'STORED',
  'MISSING',
  'QUARANTINED',
  'HEARD',
  'PUBLISHED',
  'REASON',
];

function row(mailbox: MailboxStatus, output: Invocation['stdout']): string[] {
  return [
    cell(`${mailbox.account}/${mailbox.folder}`),
    coloured(output, mailbox.healthy ? 'green' : 'red', mailbox.state),
    cell(mailbox.expected),
    cell(mailbox.stored),
    cell(mailbox.missing),
    cell(mailbox.quarantined),
    cell(mailbox.lastHeardAt),
    cell(mailbox.lastPublishedAt),
    mailbox.reason === null ? cell(null) : printableSentence(mailbox.reason),
  ];
}
