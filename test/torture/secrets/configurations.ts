/** Faulty configurations with a password at every place where one can stand: no fault shows it. */
import { type Random, shuffled } from '../../servers/random.ts';

export interface Configuration {
  name: string;
  text: string;
  environment: Record<string, string>;
}

/** A configuration that is right, with `password` and `more` as they are written. */
const yaml = (password: string, more = '') => `accounts:
  - name: a
    host: 127.0.0.1
    port: 1
    security: none
    user: ann@example.org
    ${password}
    folders: [INBOX]
    start: new
storage: { directory: /nonexistent/storage }
state: { directory: /nonexistent/state }
log: { directory: null }
${more}
`;

/** What people write where they mean a password, `$` in the place of it. YAML makes something else of each. */
const WRITTEN = [
  ...[
    'password: *$',
    'password: &$',
    'password: !$',
    'password: @$',
    'password: `$',
    'password: %$',
    'password: |$',
    'password: >$',
  ],
  ...[
    'password: "$',
    "password: '$",
    'password: {$',
    'password: [$',
    'password: {$}',
    'password: [$]',
    'password: }$',
    'password: ]$',
  ],
  ...[
    'password: $: x',
    'password: x: $',
    'password: "$"x',
    'password: "x"$',
    'password: "\\$"',
    'password: ,$',
    'password: - $',
    'password: ? $',
  ],
  ...[
    'password:$',
    'password $',
    'password = $',
    'password=$',
    '$',
    '- $',
    '? $',
    ': $',
    '"password: $',
    '\tpassword: $',
    'password:\t$\n\t$',
  ],
  ...[
    'password: $\n    password: $',
    'password: $\n   password: $',
    'password: $\n      more: $',
    'password:\n      - $',
    'password:\n      $: $',
  ],
  ...[
    'password: { file: $ }',
    'password: { file: [$] }',
    'password: { env: 1-$ }',
    'password: { env: { $: $ } }',
    'password: { command: $ }',
  ],
  ...[
    'password: { command: [1, $] }',
    'password: { command: [] , file: $ }',
    'password: { $: x }',
    'password: { plain: $ }',
    'password: { $ }',
  ],
  ...[
    'password: !!binary $',
    'password: !!int $',
    'password: !!str [$]',
    'password: <<$',
    '<<: *$',
    '<<: $',
    'password: &a [$, *a]',
    'password: "$\\q"',
  ],
  ...[
    'pasword: $',
    'passwort: $',
    'Password: $',
    'pass: $',
    'secret: $',
    'token: $',
    'auth: $',
    'auth: { pass: $ }',
    'auth: { accessToken: $ }',
  ],
  ...[
    'password: $\n---\npassword: $',
    'password: $\n...\n$',
    'password: "$\\u0000"',
    'password: "a\\n$"',
    'password: ""\n    $: ""',
    'password: null # $',
  ],
  ...[
    'password: "$" # ok\n    password2: "$"',
    'password: $\n    port: $',
    'password: $\n    security: $',
    'password: $\n    start: $',
    'password: $\n    ca: $',
  ],
  ...[
    'password: $\n    pollEvery: $',
    'password: $\n    folders: $',
    'password: $\n    folders: [[$]]',
    'password: $\n    after: $',
    'password: $\n    after: { seen: $ }',
  ],
  ...[
    'password: $\n    name: { $: $ }',
    'password: $\n    host: [$]',
    'password: $\n    user: { $: 1 }',
    'password: &p $\n    port: *p',
    'password: $\n    after: { $: $ }',
  ],
  ...[
    'password: x\n    canary: { smtp: { host: localhost, password: $ } }',
    'password: x\n    canary: { smtp: { host: localhost, password: { file: [$] } } }',
    'password: x\n    canary: { smtp: { host: localhost, pasword: $ } }',
    'password: x\n    canary: { smtp: { host: localhost, $: x } }',
    'password: x\n    canary: { smtp: { host: $, port: $, user: [$], from: $, to: $ } }',
    'password: x\n    canary: { smtp: $ }',
  ],
];

/** At the top. */
const MORE = [
  ...[
    'password: $',
    '$: $',
    '$',
    '- $',
    'limits: $',
    'limits: { messageBytes: $ }',
    'limits: { $: $ }',
    'reconcileEvery: $',
    'parsers: $',
    '"$',
  ],
  ...['limits: [$]', '%YAML 1.1 $', '&a $', '*$', '? [$]\n: $', '{$: $}', '!$ x', '\u0000$', '\ufeff$'],
];

/** Whole files. */
const FILES = [
  '$',
  'accounts: $',
  'accounts: [$]',
  'accounts: { $: $ }',
  '[$, $]',
  '"$"',
  '!$',
  '{',
  '$: {',
  'accounts:\n- $\n-$',
  '\t$',
  '%$',
  '---\n$\n---\n$',
];

const VARIABLES = [
  'MAILWATCHD_LOG_LEVEL',
  'MAILWATCHD_LOG_FORMAT',
  'MAILWATCHD_LOG_CONSOLE',
  'MAILWATCHD_LOG_MAX_SIZE',
  'MAILWATCHD_LOG_KEEP',
  'MAILWATCHD_LOG_DIRECTORY',
  'MAILWATCHD_STORAGE_DIRECTORY',
  'MAILWATCHD_STORAGE_PATH',
  'MAILWATCHD_STORAGE_FILE_MODE',
  'MAILWATCHD_STATE_DIRECTORY',
  'MAILWATCHD_LIMITS_MESSAGE_BYTES',
  'MAILWATCHD_LIMITS_PARSE_SECONDS',
  'MAILWATCHD_RECONCILE_EVERY',
  'MAILWATCHD_PARSERS',
  'MAILWATCHD_PASSWORD',
  'MAILWATCHD_ACCOUNTS',
];

/** All there are, in an order of the seed; `canary` a password in which YAML finds nothing. */
export function faultyConfigurations(random: Random, canary: string): Configuration[] {
  const filled = (template: string) => template.replaceAll('$', () => canary);
  const all = [
    ...WRITTEN.map((written) => ({ name: written, text: yaml(filled(written)), environment: {} })),
    ...MORE.map((more) => ({ name: more, text: yaml('password: x', filled(more)), environment: {} })),
    ...FILES.map((file) => ({ name: file, text: filled(file), environment: {} })),
    ...VARIABLES.map((variable) => ({
      name: `${variable}=$`,
      text: yaml('password: { env: MAILWATCHD_PASSWORD }'),
      environment: { [variable]: canary },
    })),
  ];
  return shuffled(random, all);
}
