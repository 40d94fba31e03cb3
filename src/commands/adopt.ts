/** `mailwatchd adopt`: pairs ledger and storage anew, or decides for a mailbox that holds; says what will happen, asks. */
import { createInterface } from 'node:readline/promises';
import { loadConfig } from '../config/load.ts';
import type { Config } from '../config/types.ts';
import { EXIT, MailwatchdError } from '../errors.ts';
import { printable } from '../escape.ts';
import { adoptStorage, decideEpoch, inspectPairing } from '../spool/adopt.ts';
import { unclearMailboxes } from '../spool/reading.ts';
import { takeLock } from '../supervision/lock.ts';
import { assertOwner } from '../supervision/owner.ts';
import type { Invocation } from './invocation.ts';

type Decision = 'publish' | 'skip' | null;

/** Exit status 1 where the answer was no. Errors: USAGE, WRONG_USER, ALREADY_RUNNING, STORAGE_*, LEDGER_FAILED. */
export async function adopt(
  invocation: Invocation,
  mailbox: string | null,
  options: { decision: Decision; yes: boolean },
): Promise<number> {
  if ((mailbox === null) !== (options.decision === null)) {
    throw new MailwatchdError('USAGE', {
      detail: mailbox === null ? '--publish and --skip need a mailbox' : `what about ${mailbox}?`,
      remedy: 'see `mailwatchd adopt --help`',
    });
  }
  const { config } = await loadConfig(invocation.configFile, invocation.environment);
  await assertOwner(config.state.directory);
  return mailbox === null || options.decision === null
    ? adoptPair(invocation, config, options.yes)
    : adoptMailbox(invocation, config, mailbox, options.decision, options.yes);
}

async function adoptPair(invocation: Invocation, config: Config, yes: boolean): Promise<number> {
  const { stdout } = invocation;
  // Nobody may write to either side while they are paired.
  const lock = await takeLock(config.state.directory);
  try {
    const { ledger, storage, paired, messages } = inspectPairing(
      config.state.directory,
      config.storage.directory,
    );
    if (paired) {
      stdout.write('ledger and storage are a pair: nothing to do\n');
      return EXIT.OK;
    }
    const known =
      messages === 0
        ? 'The ledger knows no message: every mailbox begins at its configured `start`.'
        : `The ledger knows ${messages} messages: none of them is published again.`;
    stdout.write(
      [
        `ledger   ${config.state.directory}: ${ledger === null ? 'new' : `paired with ${ledger}`}`,
        `storage  ${config.storage.directory}: ${storage === null ? 'new' : `paired with ${storage}`}`,
        `They become a pair. ${known}`,
        'What was staged in another storage and not yet published is fetched again.',
        '',
      ].join('\n'),
    );
    if (!(await agreed(invocation, yes))) return EXIT.CHECK_FAILED;
    adoptStorage(config.state.directory, config.storage.directory);
    stdout.write('done\n');
    return EXIT.OK;
  } finally {
    lock.release();
  }
}

async function adoptMailbox(
  invocation: Invocation,
  config: Config,
  name: string,
  decision: 'publish' | 'skip',
  yes: boolean,
): Promise<number> {
  const { stdout } = invocation;
  const held = unclearMailboxes(config.state.directory).find(
    ({ account, folder }) => `${account}/${folder}` === name,
  );
  if (held === undefined) {
    throw new MailwatchdError('USAGE', {
      where: name,
      detail: 'this mailbox does not wait for a decision',
      remedy: 'see `mailwatchd status`',
    });
  }
  stdout.write(
    `${printable(name)} has ${held.unmatched} or more messages from before its new UIDVALIDITY that match nothing ` +
      `the ledger knows.\n${
        decision === 'publish'
          ? 'They are published, as new messages.'
          : 'They are left out; what arrived since then, and arrives from now on, is published.'
      }\n`,
  );
  if (!(await agreed(invocation, yes))) return EXIT.CHECK_FAILED;
  decideEpoch(config.state.directory, { account: held.account, folder: held.folder }, decision);
  stdout.write('done: a running daemon goes on within seconds\n');
  return EXIT.OK;
}

async function agreed({ stdin, stderr }: Invocation, yes: boolean): Promise<boolean> {
  if (yes) return true;
  if (!stdin.isTTY) {
    throw new MailwatchdError('USAGE', { detail: 'there is no terminal to ask on', remedy: 'add --yes' });
  }
  const dialogue = createInterface({ input: stdin, output: stderr });
  try {
    return /^y(es)?$/i.test((await dialogue.question('Go on? [y/N] ')).trim());
  } finally {
    dialogue.close();
  }
}
