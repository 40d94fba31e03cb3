/** A configuration is taken as a whole or refused with every fault, each with key, place and type, never with a secret. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.ts';
import { accountSchema, globalSchema, leavesOf } from '../../src/config/schema.ts';
import { MailwatchdError } from '../../src/errors.ts';
import { account, faults, load, refusal, temporaryDirectory } from './temporary.ts';

describe('defaults', () => {
  test('the least that is needed gets them all', async () => {
    const { config, warnings } = await load({ accounts: [account()] });
    expect(warnings).toEqual([]);
    expect(config).toEqual({
      accounts: [
        {
          name: 'support',
          provider: null,
          host: 'imap.example.org',
          port: 993,
          security: 'tls',
          ca: null,
          user: 'support@example.org',
          auth: { password: { file: '/run/secrets/absent' } },
          folders: ['INBOX'],
          start: { kind: 'new' },
          filter: null,
          after: { seen: false, move: null, delete: false },
          authservIds: [],
          canary: null,
          pollEvery: 60_000,
          idleRenewEvery: 300_000,
          maxConnections: null,
        },
      ],
      storage: {
        directory: '/var/spool/mailwatchd',
        path: '{account}/{yyyy}/{mm}/{dd}/{id}.json',
        attachments: 'files',
        source: 'none',
        fileMode: 0o640,
        directoryMode: 0o2770,
      },
      state: { directory: '/var/lib/mailwatchd' },
      log: {
        directory: '/var/log/mailwatchd',
        level: 'info',
        format: 'text',
        console: true,
        maxSize: 20 * 1024 ** 2,
        keep: 14 * 86_400_000,
      },
      limits: {
        messageBytes: 64 * 1024 ** 2,
        parseSeconds: 30,
        parseMemoryMb: 512,
        inFlightBytes: 64 * 1024 ** 2,
        operationSeconds: 60,
        connectionsPerAccount: 8,
        connectsPerSecond: 10,
      },
      reconcileEvery: 900_000,
      parsers: expect.any(Number),
    });
    expect(config.parsers).toBeGreaterThanOrEqual(1);
    expect(config.parsers).toBeLessThanOrEqual(4);
  });

  test('config/mailwatchd.yaml tells every key and its default', async () => {
    const documented = new URL('../../config/mailwatchd.yaml', import.meta.url).pathname;
    const { config, warnings } = await loadConfig(documented, {});
    expect(warnings).toEqual([]);
    expect(config).toEqual(
      (await load({ accounts: [account({ password: { file: '/run/secrets/support' } })] })).config,
    );
    const text = readFileSync(documented, 'utf8');
    for (const [key] of [...leavesOf(globalSchema), ...leavesOf(accountSchema)]) {
      expect(text).toMatch(new RegExp(`^[ -]*${key.split('.').at(-1)}: `, 'm'));
    }
  });

  test('a slash at the end of a directory does not count', async () => {
    const content = { storage: { directory: '/a/' }, state: { directory: '/b/' }, log: { directory: '/c/' } };
    const { config } = await load({ accounts: [account()], ...content });
    expect([config.storage.directory, config.state.directory, config.log.directory]).toEqual([
      '/a',
      '/b',
      '/c',
    ]);
  });

  test('the port follows the security', async () => {
    const { config } = await load({ accounts: [account({ security: 'starttls' })] });
    expect(config.accounts[0]?.port).toBe(143);
  });
});

describe('faults', () => {
  test('all at once, in order, with key, place, type and what is allowed', async () => {
    const text = `accounts:
  - name: support
    host: imap.example.org
    prot: 993
    port: "99x"
    security: tsl
    user: 12345
    password: 012345
    start: 2026-02-30
storage:
  fileMode: 0640
limits: { parseSeconds: 0 }
`;
    expect((await refusal(text)).split('\n').slice(1)).toEqual([
      '  accounts[0].prot (line 4, column 5): unknown key, did you mean port?',
      '  accounts[0].port (line 5, column 11): expected a whole number from 1 to 65535, found a string',
      '  accounts[0].security (line 6, column 15): expected tls, starttls or none, found a string, did you mean tls?',
      '  accounts[0].user (line 7, column 11): expected a user name, found a number',
      '  accounts[0].password (line 8, column 15): YAML reads it as a number: put it in quotes',
      '  accounts[0].start (line 9, column 12): expected new, all or a date such as 2026-11-01, found a string',
      '  storage.fileMode (line 11, column 13): expected an octal mode in quotes, from "0600" to "0666", found a number: put it in quotes',
      '  limits.parseSeconds (line 12, column 25): expected a whole number from 1 to 3600, found a number',
    ]);
  });

  const one = (more: Record<string, unknown>) => ({ accounts: [account(more)] });
  const withAccount = (more: Record<string, unknown>) => ({ accounts: [account()], ...more });
  const path = (template: unknown) => withAccount({ storage: { path: template } });

  test.each<[string, unknown, string | RegExp]>([
    ['nothing at all', '', 'accounts: expected a list of one or more accounts, found nothing'],
    ['a list', [], 'the file: expected a mapping of keys, found a list'],
    [
      'no account',
      { accounts: [] },
      'accounts: expected a list of one or more accounts, found an empty list',
    ],
    [
      'an account that is a word',
      { accounts: ['support'] },
      'accounts[0]: expected a mapping of keys, found a string',
    ],
    ['no name', one({ name: undefined }), /^accounts\[0\]\.name: .*found nothing$/],
    ['a name in capitals', one({ name: 'Support' }), /^accounts\[0\]\.name: expected a name of a-z/],
    ['a name that is a path', one({ name: '../x' }), /^accounts\[0\]\.name: /],
    ['a hidden name', one({ name: '.x' }), /^accounts\[0\]\.name: /],
    ['a long name', one({ name: 'a'.repeat(65) }), /^accounts\[0\]\.name: .*at most 64/],
    ['no start', one({ start: undefined }), /^accounts\[0\]\.start: .*found nothing$/],
    ['a start that is a year', one({ start: 2026 }), /^accounts\[0\]\.start: .*found a number$/],
    ['a port of 0', one({ port: 0 }), /^accounts\[0\]\.port: .*from 1 to 65535/],
    ['half a port', one({ port: 993.5 }), /^accounts\[0\]\.port: /],
    [
      'a host with a port',
      one({ host: 'imap.example.org:993' }),
      /^accounts\[0\]\.host: expected a host name/,
    ],
    ['a host that is a URL', one({ host: 'imaps://imap.example.org' }), /^accounts\[0\]\.host: /],
    ['a mistyped address', one({ host: '10.0.0.256' }), /^accounts\[0\]\.host: /],
    [
      'clear text to another host',
      one({ host: '10.0.0.1', security: 'none' }),
      /^accounts\[0\]\.security: none is for loopback/,
    ],
    [
      'clear text to a name like an address',
      one({ host: '127.0.0.1.example.org', security: 'none' }),
      /^accounts\[0\]\.security: /,
    ],
    ['a user with a line end', one({ user: 'a\r\nb' }), /^accounts\[0\]\.user: /],
    ['a relative ca', one({ ca: 'ca.pem' }), /^accounts\[0\]\.ca: expected an absolute path/],
    ['no folder', one({ folders: [] }), /^accounts\[0\]\.folders: .*an empty list$/],
    ['one folder, not in a list', one({ folders: 'INBOX' }), /^accounts\[0\]\.folders: .*found a string$/],
    ['a folder that is a number', one({ folders: ['INBOX', 2026] }), /^accounts\[0\]\.folders: .*quotes/],
    [
      'INBOX twice',
      one({ folders: ['INBOX', 'inbox'] }),
      'accounts[0].folders[1]: the same folder a second time',
    ],
    [
      'one special use twice',
      one({ folders: ['\\All', '\\aLL'] }),
      'accounts[0].folders[1]: the same folder a second time',
    ],
    [
      'move into what a special use names',
      one({ folders: ['\\Archive'], after: { move: '\\archive' } }),
      /^accounts\[0\]\.after\.move: must not be a watched/,
    ],
    [
      'one folder in two spellings',
      one({ folders: ['Entwu\u0308rfe', 'Entw\u00fcrfe'] }),
      /folders\[1\]: the same/,
    ],
    [
      'an unquoted yes',
      one({ after: { seen: 'yes' } }),
      'accounts[0].after.seen: expected true or false, found a string',
    ],
    [
      'move and delete',
      one({ after: { move: 'Done', delete: true } }),
      'accounts[0].after.delete: not together with after.move',
    ],
    [
      'move into a watched folder',
      one({ folders: ['INBOX', 'A'], after: { move: 'Inbox' } }),
      /^accounts\[0\]\.after\.move: must not be a watched/,
    ],
    [
      'a canary where mail is watched',
      one({ folders: ['INBOX', 'A'], canary: { every: '15m', folder: 'inbox' } }),
      'accounts[0].canary.folder: must be a folder of its own, neither a watched one nor that of after.move',
    ],
    [
      'a canary where mail is moved to',
      one({ after: { move: 'Done' }, canary: { every: '15m', folder: 'Done' } }),
      /^accounts\[0\]\.canary\.folder: must be a folder of its own/,
    ],
    [
      'a canary each second',
      one({ canary: { every: '1s' } }),
      /^accounts\[0\]\.canary\.every: expected a duration from 1m to 1d, such as 15m, or null, found a string$/,
    ],
    [
      'a duration without a unit',
      one({ pollEvery: 60 }),
      /^accounts\[0\]\.pollEvery: .*a number without a unit$/,
    ],
    [
      'an authserv-id with its verdicts',
      one({ authservId: ['mx.example.org', 'mx.example.org; spf=pass'] }),
      /^accounts\[0\]\.authservId: expected an authserv-id/,
    ],
    ['a negative duration', one({ pollEvery: '-5s' }), /^accounts\[0\]\.pollEvery: /],
    [
      'an IDLE that servers end first',
      one({ idleRenewEvery: '29m' }),
      /^accounts\[0\]\.idleRenewEvery: .*to 28m, found one outside/,
    ],
    [
      'a relative storage',
      withAccount({ storage: { directory: 'spool' } }),
      /^storage\.directory: expected an absolute path/,
    ],
    ['a storage with ..', withAccount({ storage: { directory: '/var/../spool' } }), /^storage\.directory: /],
    [
      'the state in the storage',
      withAccount({ storage: { directory: '/a' }, state: { directory: '/a/state' } }),
      'state.directory: must not lie in storage.directory',
    ],
    [
      'the log in the storage',
      withAccount({ storage: { directory: '/a' }, log: { directory: '/a' } }),
      'log.directory: must not lie in storage.directory',
    ],
    [
      'an executable mode',
      withAccount({ storage: { fileMode: '0755' } }),
      /^storage\.fileMode: .*found another mode$/,
    ],
    [
      'a mode we could not write',
      withAccount({ storage: { directoryMode: '0070' } }),
      /^storage\.directoryMode: /,
    ],
    [
      'a symbolic mode',
      withAccount({ storage: { fileMode: 'rw-r' } }),
      /^storage\.fileMode: .*found a string$/,
    ],
    ['a level of its own', withAccount({ log: { level: 'wran' } }), /^log\.level: .*did you mean warn\?$/],
    [
      'a section that is a value',
      withAccount({ limits: 5 }),
      'limits: expected a mapping of keys, found a number',
    ],
    [
      'a value that is a section',
      withAccount({ reconcileEvery: { a: { b: 1 } } }),
      /^reconcileEvery: .*found a mapping$/,
    ],
    [
      'a deep value that is a section',
      withAccount({ log: { level: { a: { b: 1 } } } }),
      /^log\.level: .*found a mapping$/,
    ],
    ['a larger size than fits', withAccount({ limits: { messageBytes: '2gb' } }), /^limits\.messageBytes: /],
    ['no parser', withAccount({ parsers: 0 }), /^parsers: expected auto or a whole number from 1 to 64/],
    ['a mistyped section', withAccount({ storge: {} }), 'storge: unknown key, did you mean storage?'],
    ['a key with a dot', withAccount({ 'log.level': 'info' }), /^log\.level: unknown key/],
    ['a key of every object', withAccount({ constructor: { prototype: 1 } }), 'constructor: unknown key'],
    ['a template without {id}', path('{account}/x.json'), /^storage\.path: .*end in \{id\}\.json$/],
    ['a template without {account}', path('{id}.json'), /^storage\.path: .*hold \{account\}$/],
    ['an absolute template', path('/{account}/{id}.json'), /^storage\.path: .*relative/],
    ['a template that climbs', path('{account}/../{id}.json'), /^storage\.path: .*dot$/],
    ['a template into what is ours', path('.staging/{account}/{id}.json'), /^storage\.path: .*dot$/],
    [
      'an unknown token',
      path('{account}/{subject}/{id}.json'),
      /^storage\.path: .*its tokens are \{account\} \{folder\}/,
    ],
    ['half a token', path('{account/{id}.json'), /^storage\.path: /],
    ['a space in a template', path('{account}/a b/{id}.json'), /^storage\.path: /],
  ])('%s', async (_what, content, expected) => {
    const found = await faults(content);
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(expected);
  });

  test('two accounts of one name', async () => {
    expect(await faults({ accounts: [account(), account({ user: 'other' })] })).toEqual([
      'accounts[1].name: the same name a second time',
    ]);
  });

  test('names whose paths could be the same', async () => {
    const accounts = [account({ name: 'a', user: 'a' }), account({ name: 'a-b', user: 'b' })];
    const storage = { path: '{account}-{id}.json' };
    expect(await faults({ accounts, storage })).toEqual([
      expect.stringMatching(/^storage\.path: .*a-b begins like a:/),
    ]);
    await load({ accounts, storage: { path: '{account}/{account}-{id}.json' } });
    await load({ accounts: [accounts[0]], storage });
  });
});

describe('YAML', () => {
  const where = 'accounts:\n  - name: support\n    password: hunter2-secret\n';
  test.each([
    ['a tab', `${where}\tuser: x\n`, /\(line 4, column 1\).*tab/],
    ['an open quote', `${where}    user: "x\n`, /line \d+/],
    ['an alias to nothing', 'accounts: *hunter2-secret\n', /\(line 1, column 11\).*anchor/],
    ['a tag', 'accounts: !hunter2-secret x\n', /\(line 1, column 11\).*tag/],
    ['a tag that YAML 1.1 knows', 'accounts: !!binary aHVudGVyMg==\n', /tag/],
    [
      'a mapping as a key',
      'accounts:\n  - ? { password: hunter2-secret }\n    : x\n',
      /\(line 2, column 7\).*a key must be a word/,
    ],
    ['a password as a key', 'hunter2-secret: x\n', /\? \(line 1, column 1\): unknown key/],
    ['a sentence as a key', '"password is hunter2-secret": x\n', /\? \(line 1, column 1\): unknown key/],
    ['a second document', `${where}---\nuser: x\n`, /only one document/],
    ['a key twice', `${where}    name: other\n`, /\(line 4, column 5\).*a second time/],
    ['another version', `%YAML 1.1\n---\n${where}`, /only YAML 1\.2/],
    ['an alias in itself', 'accounts: &a [*a]\n', /accounts/],
    ['a bomb', bomb(), /nested too deeply|anchors/],
    ['a deep one', '['.repeat(100_000), /nested too deeply/],
    ['a deep mapping', '{a: '.repeat(50_000), /nested too deeply/],
  ])('%s is told by its place alone', async (_what, text, expected) => {
    const message = await refusal(text);
    expect(message).toMatch(expected);
    expect(message).not.toContain('hunter2');
    expect(message.length).toBeLessThan(5_000);
  });

  function bomb(): string {
    const lines = ['a: &a0 [x, x]'];
    for (let depth = 1; depth < 20; depth++) {
      lines.push(
        `b${depth}: &a${depth} [${Array(9)
          .fill(`*a${depth - 1}`)
          .join(', ')}]`,
      );
    }
    return lines.join('\n');
  }

  test('anchors serve what they are for; a date needs no quotes', async () => {
    const { config } = await load(
      `
shared: &shared
accounts:
  - { name: a, host: &host imap.example.org, user: a, password: &from { env: A }, start: 2026-11-01 }
  - { name: b, host: *host, user: b, password: *from, start: 2024-02-29 }
`.replace('shared: &shared\n', ''),
    );
    expect(config.accounts.map(({ host }) => host)).toEqual(['imap.example.org', 'imap.example.org']);
    expect(config.accounts[0]?.start).toEqual({ kind: 'date', at: Date.UTC(2026, 10, 1) });
    expect(config.accounts[1]?.start).toEqual({ kind: 'date', at: Date.UTC(2024, 1, 29) });
  });

  test('thousands of faults are counted, not printed', async () => {
    const message = await refusal(Array.from({ length: 5_000 }, (_, n) => `k${n}:`).join('\n'));
    expect(message.split('\n').length).toBeLessThan(110);
    expect(message).toMatch(/and 4\d\d\d more$/);
  });
});

describe('the file', () => {
  test.each([
    ['absent', 'absent.yaml', /does not exist/],
    ['a directory', '.', /not a regular file/],
    ['a device', '/dev/zero', /not a regular file/],
  ])('%s', async (_what, name, expected) => {
    const path = name.startsWith('/') ? name : join(temporaryDirectory(), name);
    await expect(loadConfig(path, {})).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE', exitStatus: 78 });
    await expect(loadConfig(path, {})).rejects.toThrow(expected);
  });

  test('too large, or not UTF-8', async () => {
    await expect(load(`${'#'.repeat(1024 * 1024)}\n`)).rejects.toMatchObject({ code: 'CONFIG_UNREADABLE' });
    await expect(load(Buffer.from('accounts: \xff', 'latin1'))).rejects.toThrow(/UTF-8/);
  });

  test('a byte order mark is no fault', async () => {
    await load(`\ufeff${JSON.stringify({ accounts: [account()] })}`);
  });
});

describe('the environment', () => {
  test('overrides scalars, but for accounts', async () => {
    const environment = {
      MAILWATCHD_STORAGE_FILE_MODE: '0600',
      MAILWATCHD_LIMITS_CONNECTIONS_PER_ACCOUNT: '3',
      MAILWATCHD_LOG_CONSOLE: 'false',
      MAILWATCHD_LOG_DIRECTORY: 'null',
      MAILWATCHD_PARSERS: '2',
      MAILWATCHD_CONFIG: '/etc/x',
      PATH: '/bin',
    };
    const content = {
      accounts: [account()],
      storage: { fileMode: '0660' },
      limits: { connectionsPerAccount: 5 },
    };
    const { config, warnings } = await load(content, { environment });
    expect(warnings).toEqual([]);
    expect(config.storage.fileMode).toBe(0o600);
    expect(config.limits.connectionsPerAccount).toBe(3);
    expect(config.log.console).toBe(false);
    expect(config.log.directory).toBeNull();
    expect(config.parsers).toBe(2);
  });

  test('an unknown variable is a warning with the nearest, never its value', async () => {
    const environment = { MAILWATCHD_STORAGE_FILEMODE: 'hunter2', MAILWATCHD_ACCOUNTS: 'hunter2' };
    const { warnings } = await load({ accounts: [account()] }, { environment });
    expect(warnings).toEqual([
      'unknown variable MAILWATCHD_STORAGE_FILEMODE, did you mean MAILWATCHD_STORAGE_FILE_MODE?',
      expect.stringMatching(/^unknown variable MAILWATCHD_ACCOUNTS/),
    ]);
    expect(warnings.join()).not.toContain('hunter2');
  });

  test.each([
    ['MAILWATCHD_LIMITS_PARSE_SECONDS', '30x'],
    ['MAILWATCHD_LIMITS_PARSE_SECONDS', ''],
    ['MAILWATCHD_LOG_CONSOLE', 'no'],
    ['MAILWATCHD_STORAGE_DIRECTORY', 'relative'],
  ])('%s=%s is a fault of that name', async (name, value) => {
    expect(await faults({ accounts: [account()] }, { environment: { [name]: value } })).toEqual([
      expect.stringMatching(new RegExp(`^${name}: expected`)),
    ]);
  });
});

describe('passwords', () => {
  const plain = { accounts: [account({ password: 'hunter2' })] };

  test('plain in a file that others can read is a fault', async () => {
    for (const mode of [0o640, 0o604, 0o644]) {
      const found = await faults(plain, { mode });
      expect(found).toEqual([
        expect.stringMatching(/^accounts\[0\]\.password: .*others can read: chmod 600/),
      ]);
    }
    await load(plain, { mode: 0o600 });
    await load({ accounts: [account()] }, { mode: 0o644 });
  });

  test('a secret’s own file that everybody can read is a warning', async () => {
    const file = join(temporaryDirectory(), 'secret');
    writeFileSync(file, 'x', { mode: 0o644 });
    const { warnings } = await load({ accounts: [account({ password: { file } })] });
    expect(warnings).toEqual([expect.stringContaining(`${file} can be read by every user`)]);
  });

  const canary = 'hunter2canary';
  test.each<[string, unknown]>([
    ['absent', undefined],
    ['null', null],
    ['empty', ''],
    ['true', true],
    ['of two lines', `${canary}\nx`],
    ['a list', [canary]],
    ['its own key', { [canary]: null }],
    ['of two sources', { file: `/${canary}`, env: 'X' }],
    ['in no source', { fiel: canary }],
    ['a relative file', { file: canary }],
    ['not a variable', { env: `$${canary}` }],
    ['a command in one string', { command: canary }],
    ['an empty command', { command: [] }],
    ['a command of numbers', { command: ['x', 5, canary] }],
  ])('%s', async (_what, password) => {
    const found = await faults({ accounts: [account({ password })] });
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(/^accounts\[0\]\.password: /);
    expect(found[0]).not.toContain(canary);
  });
});

describe('two accounts on one mailbox', () => {
  test('are a warning', async () => {
    const { warnings } = await load({ accounts: [account(), account({ name: 'other' })] });
    expect(warnings).toEqual([expect.stringMatching(/support and other watch the same folder INBOX/)]);
  });
});

describe('whatever is in the file', () => {
  const value = fc.oneof(
    { withCrossShrink: true },
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.array(fc.string(), { maxLength: 3 }),
    fc.dictionary(fc.string(), fc.string(), { maxKeys: 3 }),
    fc.jsonValue({ maxDepth: 4 }),
  );
  const keys = (schema: typeof globalSchema | typeof accountSchema) =>
    fc.dictionary(fc.oneof(fc.constantFrom(...Object.keys(schema)), fc.string()), value, { maxKeys: 8 });

  test('it is taken or refused in our own words, quickly', async () => {
    const property = fc.asyncProperty(
      fc.oneof(
        value.map((tree) => JSON.stringify(tree)),
        fc.string({ unit: 'binary', maxLength: 300 }),
        fc
          .tuple(keys(globalSchema), fc.array(keys(accountSchema), { maxLength: 3 }))
          .map(([globals, accounts]) => JSON.stringify({ ...globals, accounts })),
      ),
      async (text) => {
        const outcome = await load(text).catch((error: unknown) => error);
        if (outcome instanceof Error) {
          expect(outcome).toBeInstanceOf(MailwatchdError);
          expect((outcome as MailwatchdError).code).toMatch(/^CONFIG_(INVALID|UNREADABLE)$/);
          expect(outcome.message).not.toContain('undefined');
        }
      },
    );
    await fc.assert(property, { numRuns: 300 });
  });

  test('the password is never shown, wherever in `password` it stands', async () => {
    const canary = 'hunter2canary';
    const inPassword = fc.oneof(
      fc.constant(canary),
      fc.constant([canary]),
      fc.dictionary(
        fc.constantFrom('file', 'env', 'command', canary),
        fc.constantFrom<unknown>(canary, [canary], 5, null),
      ),
      fc.tuple(fc.string(), fc.string()).map(([before, after]) => `${before}${canary}${after}`),
    );
    const property = fc.asyncProperty(
      inPassword,
      keys(accountSchema),
      fc.nat(30),
      async (password, rest, at) => {
        const json = JSON.stringify({ accounts: [{ ...rest, password }], log: { level: 'wrong' } }, null, 1);
        // A text that is torn somewhere is a YAML error at or near the password.
        for (const text of [json, `${json.slice(0, at)}:${json.slice(at)}`]) {
          const message = await refusal(text, { mode: 0o644 });
          expect(message).not.toContain(canary);
        }
      },
    );
    await fc.assert(property, { numRuns: 200 });
  });

  test('a file torn anywhere never shows the password that stands in it', async () => {
    // Not a word, which as a key would be shown.
    const canary = 'hunter2$kestrel';
    const documented = readFileSync(new URL('../../config/mailwatchd.yaml', import.meta.url), 'utf8');
    const text = documented.replace(/^ *#.*\n/gm, '').replace('{ file: /run/secrets/support }', canary);
    expect(text).toContain(canary);
    const marks = [
      '"',
      "'",
      '\t',
      '{',
      '}',
      '[',
      ']',
      ': ',
      '- ',
      '*',
      '&',
      '!',
      '|',
      '>',
      '%',
      '@',
      '\n',
      '#',
      '? ',
      ',',
      '&a',
      '*a',
    ];
    const tear = fc.record({ at: fc.nat(text.length), cut: fc.nat(6), mark: fc.constantFrom(...marks) });
    const property = fc.asyncProperty(fc.array(tear, { minLength: 1, maxLength: 3 }), async (tears) => {
      const torn = tears.reduce(
        (all, { at, cut, mark }) => all.slice(0, at) + mark + all.slice(at + cut),
        text,
      );
      const outcome = await load(torn).catch((error: unknown) => error);
      if (!(outcome instanceof Error)) return;
      expect(outcome).toBeInstanceOf(MailwatchdError);
      expect(outcome.message).not.toContain('kestrel');
    });
    await fc.assert(property, { numRuns: 300 });
  });
});

test('a directory where the file belongs', async () => {
  const directory = join(temporaryDirectory(), 'mailwatchd.yaml');
  mkdirSync(directory);
  await expect(loadConfig(directory, {})).rejects.toThrow(/not a regular file/);
});
