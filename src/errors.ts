/** The one table of errors: what each code means, whether trying again helps, and how the process exits. */

/**
 * Whether to retry: `soon` is mended by itself within seconds to minutes, `later` needs
 * somebody else's help (wrong password, full disk of the server) and is tried sparingly,
 * `never` is the same each time.
 */
export type Retry = 'soon' | 'later' | 'never';

/** Exit statuses (the Contract; numbers from BSD's sysexits.h). */
export const EXIT = {
  OK: 0,
  CHECK_FAILED: 1,
  USAGE: 64,
  DATA: 65,
  SOFTWARE: 70,
  TEMPFAIL: 75,
  CONFIG: 78,
} as const;

interface ErrorRow {
  /** What happened, in words that stand alone in a log line. */
  meaning: string;
  retry: Retry;
  /** Exit status of a command that ends with this error; 1 where absent. */
  exit?: number;
}

const table = {
  // Command line and start
  USAGE: { meaning: 'the command line is wrong', retry: 'never', exit: EXIT.USAGE },
  INPUT_UNREADABLE: { meaning: 'an input file cannot be read', retry: 'never', exit: EXIT.DATA },
  OUTPUT_FAILED: { meaning: 'standard output cannot be written', retry: 'never' },
  INTERNAL: { meaning: 'a defect of mailwatchd itself', retry: 'never', exit: EXIT.SOFTWARE },
  ALREADY_RUNNING: {
    meaning: 'another mailwatchd holds this state directory',
    retry: 'later',
    exit: EXIT.TEMPFAIL,
  },
  WRONG_USER: {
    meaning: 'only the owner of the state directory may do this',
    retry: 'never',
    exit: EXIT.CONFIG,
  },
  CHECK_FAILED: { meaning: 'a check found something wrong', retry: 'never', exit: EXIT.CHECK_FAILED },

  // Configuration and secrets
  CONFIG_UNREADABLE: { meaning: 'the configuration file cannot be read', retry: 'never', exit: EXIT.CONFIG },
  CONFIG_INVALID: { meaning: 'the configuration has faults', retry: 'never', exit: EXIT.CONFIG },
  SECRET_UNAVAILABLE: {
    meaning: 'a password or token cannot be had from where the configuration points',
    retry: 'later',
  },

  // OAuth2
  OAUTH_LOGIN_NEEDED: {
    meaning: 'there is no valid refresh token: somebody has to log in',
    retry: 'never',
  },
  OAUTH_REFUSED: { meaning: 'the token end point refused the client or its request', retry: 'later' },
  OAUTH_UNAVAILABLE: {
    meaning: 'the token end point cannot be reached, or cannot serve now',
    retry: 'later',
  },
  OAUTH_TOKEN_UNSAVED: { meaning: 'a new token cannot be stored', retry: 'soon' },

  // Connection and login
  HOST_NOT_FOUND: { meaning: 'the name of the mail server does not resolve', retry: 'soon' },
  CONNECTION_REFUSED: { meaning: 'the mail server does not accept connections', retry: 'soon' },
  CONNECTION_LOST: { meaning: 'the connection to the mail server ended', retry: 'soon' },
  OPERATION_TIMED_OUT: {
    meaning: 'the mail server was silent for limits.operationSeconds, or did not finish in ten times that',
    retry: 'soon',
  },
  TLS_EXPIRED: { meaning: "the mail server's certificate has expired", retry: 'later' },
  TLS_WRONG_HOST: { meaning: "the mail server's certificate is for another host", retry: 'later' },
  TLS_UNKNOWN_ISSUER: {
    meaning: "the mail server's certificate is signed by an unknown issuer",
    retry: 'later',
  },
  TLS_FAILED: { meaning: 'the TLS handshake failed', retry: 'soon' },
  STARTTLS_MISSING: { meaning: 'the mail server does not offer STARTTLS', retry: 'later' },
  AUTH_FAILED: { meaning: 'the mail server refused user name, password or token', retry: 'later' },
  AUTH_APP_PASSWORD: { meaning: 'the provider wants an application password', retry: 'later' },
  AUTH_BASIC_DISABLED: { meaning: 'the provider switched off sign-in by password', retry: 'later' },
  AUTH_IMAP_DISABLED: { meaning: 'IMAP is switched off for this mailbox', retry: 'later' },
  AUTH_LOGIN_DISABLED: { meaning: 'the mail server forbids login on this connection', retry: 'later' },
  SERVER_UNAVAILABLE: { meaning: 'the mail server is there but cannot serve now', retry: 'soon' },
  SERVER_REFUSED: { meaning: 'the mail server refused a command', retry: 'soon' },
  SERVER_PROTOCOL: { meaning: 'the mail server sent something that is not IMAP or SMTP', retry: 'soon' },

  // Mailbox
  FOLDER_MISSING: { meaning: 'the folder does not exist on the mail server', retry: 'later' },
  FETCH_INCOMPLETE: { meaning: 'the mail server left out messages that it still has', retry: 'soon' },
  MESSAGE_UNFETCHABLE: { meaning: 'a message cannot be fetched, alone and three times', retry: 'later' },
  MESSAGE_TOO_LARGE: { meaning: 'a message is larger than limits.messageBytes', retry: 'later' },
  EPOCH_UNCLEAR: {
    meaning: 'after a new UIDVALIDITY too many old messages match nothing that is known',
    retry: 'later',
  },
  MOVE_UNSUPPORTED: { meaning: 'after.move needs a mail server with MOVE', retry: 'later' },
  DELETE_UNSUPPORTED: { meaning: 'after.delete needs a mail server with UIDPLUS', retry: 'later' },
  CANARY_MISSING: { meaning: 'the message that proves that mail is noticed was not', retry: 'soon' },
  AFTER_FAILED: { meaning: 'an after-action on the mail server failed', retry: 'soon' },

  // Parsing
  PARSE_FAILED: { meaning: 'a message cannot be parsed', retry: 'never', exit: EXIT.DATA },
  PARSE_TIMED_OUT: {
    meaning: 'parsing a message took longer than limits.parseSeconds',
    retry: 'never',
    exit: EXIT.DATA,
  },
  PARSE_MEMORY: {
    meaning: 'parsing a message took more than limits.parseMemoryMb',
    retry: 'never',
    exit: EXIT.DATA,
  },
  PARSER_DIED: {
    meaning: 'the parser process ended while it had this message',
    retry: 'never',
    exit: EXIT.DATA,
  },
  PARSER_UNAVAILABLE: {
    meaning: 'no parser process can be started',
    retry: 'soon',
    exit: EXIT.TEMPFAIL,
  },
  DAEMON_KILLED: { meaning: 'the daemon ended three times while it had this message alone', retry: 'never' },

  // Storage and ledger
  STORAGE_NOT_PAIRED: {
    meaning: 'storage directory and ledger do not belong together',
    retry: 'never',
    exit: EXIT.CONFIG,
  },
  STORAGE_MISSING: { meaning: 'a directory does not exist', retry: 'soon', exit: EXIT.CONFIG },
  STORAGE_FULL: { meaning: 'no space or inodes left on the device', retry: 'soon' },
  STORAGE_READ_ONLY: { meaning: 'the file system is read-only', retry: 'soon' },
  STORAGE_DENIED: { meaning: 'no permission in the storage directory', retry: 'soon' },
  STORAGE_FAILED: { meaning: 'the storage directory cannot be written', retry: 'soon' },
  FILE_EXISTS: { meaning: 'a file that is not ours stands where a document belongs', retry: 'soon' },
  LEDGER_FAILED: { meaning: 'the ledger cannot be read or written', retry: 'soon' },
  STAGED_MISSING: { meaning: 'staged files were removed by somebody', retry: 'soon' },
  UNKNOWN_MESSAGE: { meaning: 'the ledger holds no such message', retry: 'never', exit: EXIT.DATA },
  SOURCE_MISSING: { meaning: 'the raw message to replay is not there', retry: 'never', exit: EXIT.DATA },
  ALREADY_PUBLISHED: { meaning: 'the message is published already', retry: 'never', exit: EXIT.DATA },
} as const satisfies Record<string, ErrorRow>;

/** A code of the table. */
export type ErrorCode = keyof typeof table;

/** The table, for the documentation's test and for lookups by code. */
export const ERRORS: Readonly<Record<ErrorCode, ErrorRow>> = table;

/** What an error carries beside its code. Nothing in it may be a secret: it is printed. */
export interface ErrorDetails {
  /** What happened here, after the table's meaning; text of a server or message is escaped on printing. */
  detail?: string;
  /** Where: mailbox, path, key or host. */
  where?: string;
  /** What the operator can do about it, as an imperative sentence. */
  remedy?: string;
  /** Milliseconds before which trying again is of no use. */
  retryAfter?: number;
  cause?: unknown;
}

/** The only error that crosses a module's boundary. Its code says whether to retry. */
export class MailwatchdError extends Error {
  readonly code: ErrorCode;
  readonly detail: string | undefined;
  readonly where: string | undefined;
  readonly remedy: string | undefined;
  readonly retryAfter: number | undefined;

  constructor(code: ErrorCode, details: ErrorDetails = {}) {
    const parts = [details.where, details.detail ?? ERRORS[code].meaning, details.remedy].filter(Boolean);
    super(parts.join(': '), details.cause === undefined ? undefined : { cause: details.cause });
    this.name = 'MailwatchdError';
    this.code = code;
    this.detail = details.detail;
    this.where = details.where;
    this.remedy = details.remedy;
    this.retryAfter = details.retryAfter;
  }

  get retry(): Retry {
    return ERRORS[this.code].retry;
  }

  /** The exit status of a command that ends with this error. */
  get exitStatus(): number {
    return ERRORS[this.code].exit ?? EXIT.CHECK_FAILED;
  }
}

/** Wraps whatever was thrown; a MailwatchdError passes unchanged. */
export function toMailwatchdError(
  error: unknown,
  fallback: ErrorCode,
  details: ErrorDetails = {},
): MailwatchdError {
  if (error instanceof MailwatchdError) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new MailwatchdError(fallback, { detail, cause: error, ...details });
}

/** The form in which an error crosses a thread or process; `reviveError` is its inverse. */
export interface PlainError {
  code: ErrorCode;
  detail?: string | undefined;
  where?: string | undefined;
  remedy?: string | undefined;
}

export function plainError(error: MailwatchdError): PlainError {
  return { code: error.code, detail: error.detail, where: error.where, remedy: error.remedy };
}

export function reviveError(plain: PlainError): MailwatchdError {
  const details: ErrorDetails = {};
  if (plain.detail !== undefined) details.detail = plain.detail;
  if (plain.where !== undefined) details.where = plain.where;
  if (plain.remedy !== undefined) details.remedy = plain.remedy;
  return new MailwatchdError(plain.code, details);
}
