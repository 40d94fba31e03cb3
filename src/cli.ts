/** The command line: names, options, help and examples of each command; what fails prints one line. */
import { fstatSync, readFileSync } from 'node:fs';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { Invocation } from './commands/invocation.ts';
import type { ReplayOptions } from './commands/replay.ts';
import { EXIT, MailwatchdError, toMailwatchdError } from './errors.ts';
import { printable } from './escape.ts';
import { packageFile } from './program.ts';
import { openNotification } from './supervision/notification.ts';
import { flushed, type Terminal } from './terminal.ts';

const DEFAULT_CONFIG = '/etc/mailwatchd/mailwatchd.yaml';

/** Longest line of an error: a configuration's faults are all of them printed, on lines of their own. */
const MAX_ERROR_LINE = 2000;

/**
 * Runs one command and returns its exit status. Never throws: what goes wrong is one line
 * `mailwatchd: CODE: what, where, what to do` on stderr.
 */
export async function runCommandLine(
  argv: string[],
  host: Terminal & { env: NodeJS.ProcessEnv },
): Promise<number> {
  // A reader that went away (`mailwatchd list | head`) is no fault of ours; of what fails on stderr
  // nobody can be told, and a daemon must outlive it.
  let unwritten: Error | null = null;
  host.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') unwritten ??= error;
  });
  host.stderr.on('error', () => undefined);
  let status: number = EXIT.OK;
  const program = buildProgram(host, (result) => {
    status = result;
  });
  try {
    await program.parseAsync(argv, { from: 'user' });
    await flushed(host.stdout);
    if (unwritten !== null) throw toMailwatchdError(unwritten, 'OUTPUT_FAILED');
    return status;
  } catch (error) {
    await flushed(host.stdout);
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.OK;
    const failure =
      error instanceof CommanderError ? usageError(error) : toMailwatchdError(error, 'INTERNAL');
    host.stderr.write(errorLines(failure));
    await flushed(host.stderr);
    return failure.exitStatus;
  }
}

/** An option that may be given again. */
const collect = (value: string, before: string[] = []): string[] => [...before, value];

/** One line, or for a configuration one line a fault; what the command line brings in has no line ends of its own. */
function errorLines(failure: MailwatchdError): string {
  const texts = failure.code === 'CONFIG_INVALID' ? failure.message.split('\n') : [failure.message];
  const [first = '', ...more] = texts.map((line) => printable(line, MAX_ERROR_LINE));
  return [`mailwatchd: ${failure.code}: ${first}`, ...more].map((line) => `${line}\n`).join('');
}

/** An option's file descriptor. The three standard ones have another use. */
function descriptor(text: string): number {
  if (/^[3-9]$|^[1-9][0-9]{1,3}$/.test(text) && isOpen(Number(text))) return Number(text);
  throw new InvalidArgumentError('It must be the number of an open file descriptor above 2.');
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

function usageError(error: CommanderError): MailwatchdError {
  const detail = error.message.replace(/^error: /, '').replace(/\n+/g, ' ') || 'a command is missing';
  return new MailwatchdError('USAGE', {
    detail: error.code === 'commander.help' ? 'a command is missing' : detail,
    remedy: "see 'mailwatchd --help'",
  });
}

function buildProgram(
  host: Terminal & { env: NodeJS.ProcessEnv },
  finish: (status: number) => void,
): Command {
  const { version } = JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    version: string;
  };
  const program = new Command('mailwatchd')
    .description(
      'Mail in, JSON out: every new message of the watched mailboxes becomes one JSON file, exactly once.',
    )
    .version(version)
    .exitOverride()
    .configureOutput({
      writeOut: (text) => host.stdout.write(text),
      // Help after an error would bury the error's one line.
      writeErr: () => undefined,
      getOutHelpWidth: () => host.stdout.columns ?? 100,
    })
    .configureHelp({ showGlobalOptions: true });

  const invocation = (command: Command): Invocation => ({
    stdin: host.stdin,
    stdout: host.stdout,
    stderr: host.stderr,
    environment: host.env,
    version,
    configFile: command.opts<{ config?: string }>().config ?? host.env.MAILWATCHD_CONFIG ?? DEFAULT_CONFIG,
  });

  /** A subcommand with an example. Each takes --config (the Contract), also those that do without. */
  const add = (
    usage: string,
    description: string,
    example: string,
    configuration = `the configuration (default: $MAILWATCHD_CONFIG, else ${DEFAULT_CONFIG})`,
  ): Command => {
    const command = program
      .command(usage)
      .description(description)
      .addHelpText('after', `\nExample:\n  $ ${example}`);
    command.addOption(new Option('--config <file>', configuration));
    return command;
  };

  add('run', 'the daemon, in the foreground', 'mailwatchd run --config /etc/mailwatchd/mailwatchd.yaml')
    .option('--notify-fd <number>', "tell there how the start ended: 'ready', or the error", descriptor)
    .action(async (options: { notifyFd?: number }, command: Command) => {
      const { run } = await import('./commands/run.ts');
      const startEnded = openNotification(options.notifyFd ?? null);
      try {
        finish(await run(invocation(command), { onReady: () => startEnded('ready\n') }));
      } catch (error) {
        startEnded(errorLines(toMailwatchdError(error, 'INTERNAL')));
        throw error;
      }
    });

  add('once', 'catch up on every mailbox, then exit', 'mailwatchd once --config mailwatchd.yaml').action(
    async (_options, command: Command) => {
      const { once } = await import('./commands/once.ts');
      finish(await once(invocation(command)));
    },
  );

  add('check', 'try configuration, secrets, directories and every mailbox', 'mailwatchd check --offline')
    .option('--offline', 'stop before the network')
    .action(async (options: { offline?: true }, command: Command) => {
      const { check } = await import('./commands/check.ts');
      finish(await check(invocation(command), { offline: options.offline ?? false }));
    });

  add(
    'login <account>',
    'get an account its OAuth2 tokens, by a browser on any machine',
    'mailwatchd login support',
  ).action(async (account: string, _options, command: Command) => {
    const { login } = await import('./commands/login.ts');
    finish(await login(invocation(command), account));
  });

  add('plan', 'what a first start would fetch of each mailbox; writes nothing', 'mailwatchd plan').action(
    async (_options, command: Command) => {
      const { plan } = await import('./commands/plan.ts');
      finish(await plan(invocation(command)));
    },
  );

  add(
    'describe',
    'what a supervisor must know of the configuration, a line each: directories, variables, mailboxes',
    'mailwatchd describe',
  ).action(async (_options, command: Command) => {
    const { describe } = await import('./commands/describe.ts');
    finish(await describe(invocation(command)));
  });

  add(
    'status [mailbox]',
    "the running daemon's mailboxes; with ACCOUNT/FOLDER all that is known of one",
    'mailwatchd status --check',
  )
    .option('--json', 'as data')
    .option('--check', 'exit 1 naming each mailbox that is not healthy, and why')
    .action(async (mailbox: string | undefined, options: { json?: true; check?: true }, command: Command) => {
      const { status } = await import('./commands/status.ts');
      const { json = false, check = false } = options;
      finish(await status(invocation(command), { mailbox: mailbox ?? null, json, check }));
    });

  add(
    'list',
    'the ledger: every message and what became of it',
    'mailwatchd list --account support --since 2026-11-01',
  )
    .option('--account <name>', 'of this account only')
    .option('--folder <name>', 'of this folder only')
    .option('--since <date>', 'handled at or after: YYYY-MM-DD (UTC) or ISO 8601')
    .option('--state <state>', 'staged, published, quarantined, unfetchable, filtered, carried or skipped')
    .option('--limit <number>', 'the newest so many')
    .option('--json', 'one JSON line a message')
    .action(async (options: Record<string, string | undefined> & { json?: true }, command: Command) => {
      const { list } = await import('./commands/list.ts');
      finish(await list(invocation(command), options));
    });

  add(
    'replay [ids...]',
    'parse again from quarantine or the kept source, and publish',
    'mailwatchd replay --quarantined',
  )
    .option('--quarantined', 'every quarantined message')
    .option('--filtered', 'fetch what rules left out and the present ones take')
    .option('--again', 'also what is published already: it gets the file name <id>~2.json')
    .action(async (ids: string[], options: Partial<ReplayOptions>, command: Command) => {
      const { replay } = await import('./commands/replay.ts');
      const { quarantined = false, filtered = false, again = false } = options;
      finish(await replay(invocation(command), ids, { quarantined, filtered, again }));
    });

  add(
    'adopt [mailbox]',
    'pair ledger and storage after one was replaced; with ACCOUNT/FOLDER decide for a mailbox that holds',
    'mailwatchd adopt support/INBOX --skip',
  )
    .addOption(new Option('--publish', 'publish the old messages that match nothing').conflicts('skip'))
    .option('--skip', 'leave them out')
    .option('--yes', 'do not ask')
    .action(
      async (
        mailbox: string | undefined,
        options: { publish?: true; skip?: true; yes?: true },
        command: Command,
      ) => {
        const { adopt } = await import('./commands/adopt.ts');
        const decision = options.publish ? 'publish' : options.skip ? 'skip' : null;
        finish(await adopt(invocation(command), mailbox ?? null, { decision, yes: options.yes ?? false }));
      },
    );

  add(
    'parse <files...>',
    'raw messages (- is stdin) to documents, one JSON line each',
    'mailwatchd parse mail.eml',
    'takes the limits from this configuration (default: their defaults)',
  )
    .option('--attachments <directory>', 'write the attachments there')
    .option('--authserv-id <id>', 'trust its Authentication-Results; may be given again', collect)
    .action(
      async (files: string[], options: { attachments?: string; authservId?: string[]; config?: string }) => {
        const { parse } = await import('./commands/parse.ts');
        finish(
          await parse(files, options, { stdin: host.stdin, stdout: host.stdout, environment: host.env }),
        );
      },
    );

  add(
    'schema',
    'the JSON Schema of the document',
    'mailwatchd schema > message-v1.json',
    'not needed',
  ).action(async () => {
    const { schema } = await import('./commands/schema.ts');
    finish(await schema(host));
  });

  return program;
}
