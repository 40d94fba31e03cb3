/** `mailwatchd check`: configuration, secrets, directories, then each mailbox up to opening it; a table of verdicts. */
import { systemClock } from '../clock.ts';
import { loadConfig } from '../config/load.ts';
import { readSecret, readSecretText } from '../config/secrets.ts';
import { type AccountConfig, type Config, secretsOf } from '../config/types.ts';
import { oldestChange, openCredentials, tokenFileOf } from '../credentials.ts';
import { EXIT, MailwatchdError, toMailwatchdError } from '../errors.ts';
import { printableSentence } from '../escape.ts';
import { silentLog } from '../logging.ts';
import { type Probe, probeCanary, probeMailbox } from '../mailbox/probe.ts';
import { verifySubmission } from '../mailbox/submission.ts';
import { visitAccount } from '../mailbox/visit.ts';
import { loginNeeded } from '../oauth/access.ts';
import { readTokens } from '../oauth/token-file.ts';
import { paceConnections } from '../pace.ts';
import { inspectDirectory, inspectPair } from '../spool/inspect.ts';
import { assertOwner } from '../supervision/owner.ts';
import { ending } from '../supervision/warnings.ts';
import { cell, coloured, formatBytes, formatDuration, type Output, table } from '../terminal.ts';
import type { Invocation } from './invocation.ts';
import { quotaText } from './mailbox-details.ts';

/** One row: what was looked at, and what was found. */
interface Verdict {
  subject: string;
  /** What is well, or worth knowing. */
  detail: string;
  fault: MailwatchdError | null;
}

/** CHECK_FAILED where something is wrong; CONFIG_* where the configuration itself is. */
export async function check(
  { configFile, environment, stdout }: Invocation,
  { offline }: { offline: boolean },
): Promise<number> {
  const { config, warnings } = await loadConfig(configFile, environment);
  const verdicts: Verdict[] = [
    { subject: 'configuration', detail: configFile, fault: null },
    ...warnings.map((warning) => ({ subject: 'configuration', detail: `note: ${warning}`, fault: null })),
    ...(await checkDirectories(config)),
    ...(await Promise.all(config.accounts.map((account) => checkSecrets(account, config, environment)))),
    ...(offline ? [] : await checkMailboxes(config, environment)),
  ];
  stdout.write(
    table(
      stdout,
      ['CHECK', 'RESULT', 'DETAIL'],
      verdicts.map((verdict) => row(stdout, verdict)),
    ),
  );
  const failed = verdicts.filter(({ fault }) => fault !== null).length;
  if (failed === 0) return EXIT.OK;
  throw new MailwatchdError('CHECK_FAILED', {
    detail: `${failed} of ${verdicts.length} checks failed`,
    remedy: 'the table says why, docs/operations.md more',
  });
}

function row(output: Output, { subject, detail, fault }: Verdict): string[] {
  return fault === null
    ? [cell(subject), coloured(output, 'green', 'ok'), cell(detail)]
    : [cell(subject), coloured(output, 'red', fault.code), printableSentence(fault.message)];
}

/** `work`'s answer as a verdict; what it throws is the fault. */
async function verdict(subject: string, work: () => Promise<string>): Promise<Verdict> {
  try {
    return { subject, detail: await work(), fault: null };
  } catch (error) {
    return { subject, detail: '', fault: toMailwatchdError(error, 'INTERNAL', { where: subject }) };
  }
}

function checkDirectories({ storage, state, log }: Config): Promise<Verdict[]> {
  const looked = (subject: string, directory: string, group: boolean) =>
    verdict(subject, async () => {
      const { free, note } = inspectDirectory(directory, { group });
      return [`${directory}, ${formatBytes(free)} free`, note].filter(Boolean).join('; ');
    });
  return Promise.all([
    looked('storage.directory', storage.directory, true),
    looked('state.directory', state.directory, false),
    ...(log.directory === null ? [] : [looked('log.directory', log.directory, false)]),
    verdict('owner', async () => {
      await assertOwner(state.directory);
      return 'this user owns the state directory';
    }),
    verdict('pairing', async () => {
      inspectPair(state.directory, storage.directory);
      return 'storage and ledger belong together';
    }),
  ]);
}

function checkSecrets(
  account: AccountConfig,
  { state }: Config,
  environment: NodeJS.ProcessEnv,
): Promise<Verdict> {
  const { name, auth } = account;
  return verdict(`${name}: ${'password' in auth ? 'password' : 'oauth2'}`, async () => {
    const key = 'oauth2' in auth ? auth.oauth2.serviceAccountKey : null;
    for (const secret of secretsOf(account))
      await (secret === key ? readSecretText : readSecret)(secret, environment);
    const changedAt = await oldestChange(account);
    const age = changedAt === null ? null : `changed ${formatDuration(systemClock.now() - changedAt)} ago`;
    if ('password' in auth) return ['can be read', age].filter(Boolean).join(', ');
    const file = tokenFileOf(name, auth.oauth2, state.directory);
    const tokens = await readTokens(file);
    if (tokens !== null) {
      const { refreshEndsAt = null } = tokens;
      const end = refreshEndsAt === null ? null : `the login ${ending(refreshEndsAt, systemClock.now())}`;
      return [`tokens in ${file}`, end, age].filter(Boolean).join(', ');
    }
    if (auth.oauth2.refreshToken !== null || auth.oauth2.grant !== 'refreshToken')
      return `tokens will be in ${file}`;
    throw loginNeeded(name, 'there is no token yet');
  });
}

async function checkMailboxes(config: Config, environment: NodeJS.ProcessEnv): Promise<Verdict[]> {
  const { limits } = config;
  const takeTurn = paceConnections(limits.connectsPerSecond, systemClock);
  const credentials = openCredentials({
    stateDirectory: config.state.directory,
    environment,
    clock: systemClock,
  });
  const { signal } = new AbortController();
  const options = { limits, clock: systemClock, log: silentLog, takeTurn, signal };
  const verdicts = await Promise.all(
    config.accounts.map(async (account) => {
      await using visit = visitAccount({ ...account, credential: credentials.of(account) }, options);
      const rows: Verdict[] = [];
      // One after another, on one connection: an account's connections and logins are few.
      for (const folder of account.folders) {
        rows.push(
          await verdict(`${account.name}/${folder}`, async () => {
            const probe = await probeMailbox(visit, folder);
            if (probe.afterFault !== null) throw probe.afterFault;
            return describeProbe(probe, account);
          }),
        );
      }
      const { canary } = account;
      if (canary !== null) {
        rows.push(
          await verdict(`${account.name}: canary`, async () => {
            const { exists } = await probeCanary(visit, canary.folder, account.folders);
            const smtp = credentials.submission(account);
            if (smtp !== null) await verifySubmission(smtp, options);
            return [
              `${canary.folder} ${exists ? 'is there' : 'will be made'}`,
              smtp && `sent by ${smtp.host}:${smtp.port} to ${smtp.to}`,
              `every ${formatDuration(canary.every)}`,
            ]
              .filter(Boolean)
              .join(', ');
          }),
        );
      }
      return rows;
    }),
  );
  return verdicts.flat();
}

function describeProbe({ messages, idle, certificate, quota }: Probe, { pollEvery }: AccountConfig): string {
  return [
    `${messages} messages`,
    idle ? 'pushes new mail (IDLE)' : `asked every ${pollEvery / 1000} s, the server has no IDLE`,
    certificate && `certificate ${ending(certificate.until, systemClock.now())}`,
    quota && `quota ${quotaText(quota)}`,
  ]
    .filter(Boolean)
    .join(', ');
}
