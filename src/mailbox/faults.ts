/** Turns whatever IMAP, TLS, DNS and sockets throw into a MailwatchdError that says what to do. */
import { type ErrorCode, MailwatchdError } from '../errors.ts';
import { withoutSecrets } from '../escape.ts';
import type { Meaning, Provider } from '../providers/index.ts';
import type { Credential } from './connection.ts';

/** What is known of a connection when something on it failed. */
export interface FaultContext {
  /** `host:port`, for the operator. */
  where: string;
  host: string;
  /** Null where nothing is known of it. */
  provider: Provider | null;
  /** Text of the server's BYE (RFC 3501 §7.1.5), where it sent one. */
  bye: string | undefined;
  /** Texts that must not appear anywhere, such as the password and what SASL makes of it. */
  secrets: string[];
  /** Whether the login was by an access token. */
  byToken: boolean;
}

/** The properties that imapflow, node:tls and node:net put on their errors. */
interface ThrownError {
  code?: unknown;
  message?: unknown;
  reason?: unknown;
  authenticationFailed?: unknown;
  tlsFailed?: unknown;
  responseStatus?: unknown;
  responseText?: unknown;
  oauthError?: unknown;
  serverResponseCode?: unknown;
  response?: unknown;
}

/** RFC 5530 §3 and what providers say in words: not now, but later. None of these means wrong credentials. */
const LATER_CODES = new Set(['UNAVAILABLE', 'LIMIT', 'INUSE', 'SERVERBUG', 'OVERQUOTA', 'THROTTLED']);
const LATER_WORDS =
  /too many|try again|temporar|throttl|rate.?limit|exceeded.*(limit|connection)|(limit|connection).*exceeded|not available|unavailable|overload|busy|internal (server )?error|server error|maximum number|quota exceeded/i;
const APP_PASSWORD_WORDS =
  /application.?specific|app.?specific|app password|application password|authorization code|third.?party/i;
const BASIC_DISABLED_WORDS =
  /basic ?auth|BasicAuthBlocked|basic authentication is (disabled|blocked)|LogonDenied-BasicAuth/i;
const LOGIN_DISABLED_WORDS =
  /login.{0,20}(disabled|not (allowed|permitted))|plaintext|disabled.{0,40}(ssl|tls)|privacyrequired/i;
/** imapflow's own words. */
const NO_MECHANISM = /^(no matching authentication|unsupported authentication)/i;
/** But for who says "invalid credentials or IMAP is disabled". */
const IMAP_DISABLED_WORDS =
  /(?<!\bor )\bIMAP( access)?( is)? (disabled|not enabled|switched off)|not enabled for IMAP|enable IMAP/i;
/** "Suggested Backoff Time: 299961 milliseconds" of Exchange, and whoever else names a wait. */
const BACKOFF_TIME = /back-?off ?time[:=\s]+(\d{1,9})/i;
const RETRY_AFTER =
  /\b(?:re)?try (?:again )?(?:after|in) (\d{1,6}) ?(?:s(?:ec(?:ond)?s?)?|(m(?:in(?:ute)?s?)?))\b/i;
/** Exchange has been seen asking for 50 minutes; no server keeps a mailbox away for longer than this. */
const MOST_RETRY_AFTER_MS = 3_600_000;

const UNKNOWN_ISSUER = new Set([
  'DEPTH_ZERO_SELF_SIGNED_CERT',
  'SELF_SIGNED_CERT_IN_CHAIN',
  'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  'UNABLE_TO_GET_ISSUER_CERT',
  'UNABLE_TO_GET_ISSUER_CERT_LOCALLY',
  'CERT_UNTRUSTED',
  'INVALID_CA',
]);
const EXPIRED = new Set(['CERT_HAS_EXPIRED', 'CERT_NOT_YET_VALID']);
const NOT_FOUND = new Set(['ENOTFOUND', 'EAI_AGAIN', 'EAI_NODATA', 'EAI_NONAME', 'EAI_FAIL']);
const REFUSED = new Set([
  'ECONNREFUSED',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'EHOSTDOWN',
  'EADDRNOTAVAIL',
  'EACCES',
  'EPERM',
]);
/** The parser's limits and what only a broken or hostile server causes. */
const PROTOCOL = new Set([
  'LineTooLarge',
  'LiteralTooLarge',
  'ResponseTooLarge',
  'TooManyTokens',
  'TooManyResponses',
  'UnexpectedTag',
  'MissingTag',
  'InvalidResponse',
  'ResponseProcessingFailed',
  'STARTTLS_INJECTION',
  'MAX_IMAP_NESTING_REACHED',
]);
const TIMED_OUT = new Set([
  'CONNECT_TIMEOUT',
  'GREETING_TIMEOUT',
  'UPGRADE_TIMEOUT',
  'ETIMEOUT',
  'ETIMEDOUT',
]);

/**
 * Texts by which a login could be told: the secret, and the forms in which it travels: by LOGIN or PLAIN (RFC 4616), or amid
 * what OAUTHBEARER (RFC 7628) and XOAUTH2 say.
 */
export function secretForms(user: string, credential: Credential): string[] {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  if ('password' in credential) {
    const { password } = credential;
    return [password, base64(password), base64(`\0${user}\0${password}`)];
  }
  const { accessToken } = credential;
  // In base64, which takes three bytes at a time, it looks one of three ways, but for what it shares with others.
  const forms = [0, 1, 2].map((before) => {
    const bytes = `${' '.repeat(before)}${accessToken}`;
    return base64(bytes).slice(before === 0 ? 0 : 4, Math.floor(bytes.length / 3) * 4);
  });
  return [accessToken, ...forms];
}

/** The error with its code, place, the server's words and what to do; a MailwatchdError passes unchanged. */
export function fault(thrown: unknown, context: FaultContext): MailwatchdError {
  if (thrown instanceof MailwatchdError) return thrown;
  const error = (typeof thrown === 'object' && thrown !== null ? thrown : { message: thrown }) as ThrownError;
  const { code, remedy, detail, retryAfter } = classify(error, context);
  // The thrown error is no `cause`: imapflow's carries the whole command and the server's raw answer.
  return new MailwatchdError(code, {
    where: context.where,
    detail: withoutSecrets(detail, context.secrets),
    ...(remedy !== undefined && { remedy }),
    ...(retryAfter !== undefined && { retryAfter: Math.min(retryAfter, MOST_RETRY_AFTER_MS) }),
  });
}

interface Classified {
  code: ErrorCode;
  detail: string;
  remedy?: string;
  /** Milliseconds. */
  retryAfter?: number;
}

function classify(error: ThrownError, context: FaultContext): Classified {
  const { host, bye } = context;
  const code = text(error.code);
  const words = text(error.responseText) || text(error.response) || text(error.reason) || text(error.message);
  // Only a tagged refusal of LOGIN or AUTHENTICATE is about credentials; a BYE or a timeout meanwhile is not.
  if (error.authenticationFailed === true || NO_MECHANISM.test(words)) {
    const reason = withReason(words, error.oauthError);
    return refusedLogin(reason, text(error.serverResponseCode), context);
  }

  if (NOT_FOUND.has(code))
    return {
      code: 'HOST_NOT_FOUND',
      detail: `no address for ${host} (${code})`,
      remedy: 'check the spelling of `host` and the name server',
    };
  if (REFUSED.has(code))
    return {
      code: 'CONNECTION_REFUSED',
      detail: `the connection was refused (${code})`,
      remedy: 'check `port` and that no firewall stands between',
    };
  if (EXPIRED.has(code))
    return {
      code: 'TLS_EXPIRED',
      detail:
        code === 'CERT_HAS_EXPIRED'
          ? "the server's certificate has expired"
          : "the server's certificate is not valid yet",
      remedy: "check this machine's clock, or have the server's certificate renewed",
    };
  if (code === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return {
      code: 'TLS_WRONG_HOST',
      detail: wrongHost(error, host),
      remedy: 'put the name that the certificate carries under `host`',
    };
  if (UNKNOWN_ISSUER.has(code))
    return {
      code: 'TLS_UNKNOWN_ISSUER',
      detail: `the server's certificate is signed by an unknown issuer (${code})`,
      remedy: "put the issuer's certificate (PEM) into a file and name it under `ca:`",
    };
  if (error.tlsFailed === true && /STARTTLS/.test(words) && code === '')
    return {
      code: 'STARTTLS_MISSING',
      detail: words,
      remedy: 'use `security: tls` with port 993, or have STARTTLS switched on',
    };
  // A certificate that OpenSSL refuses for a reason that Node has no name for, such as a weak key.
  if (code === 'UNSPECIFIED')
    return {
      code: 'TLS_FAILED',
      detail: `the server's certificate is refused (${words})`,
      remedy: "have the server's certificate renewed",
    };
  if (error.tlsFailed === true || /^(ERR_SSL|ERR_TLS|EPROTO|CERT_|HOSTNAME_MISMATCH)/.test(code))
    return {
      code: 'TLS_FAILED',
      detail: `the TLS handshake failed (${code || words})`,
      remedy: 'check that `security` fits `port`: 993 and 465 are tls, 143 and 587 starttls',
    };
  if (PROTOCOL.has(code) || code.startsWith('ParserError'))
    return { code: 'SERVER_PROTOCOL', detail: `${text(error.message)} (${code})` };
  if (TIMED_OUT.has(code)) return { code: 'OPERATION_TIMED_OUT', detail: text(error.message) };
  if (bye !== undefined || text(error.reason) !== '')
    return said(bye ?? text(error.reason), context, {
      code: 'SERVER_UNAVAILABLE',
      detail: `the server said goodbye: ${bye ?? text(error.reason)}`,
    });
  if (code === 'ETHROTTLE') return said(words, context, { code: 'SERVER_UNAVAILABLE', detail: words });
  const status = text(error.responseStatus);
  if (status !== '') {
    const later = LATER_CODES.has(text(error.serverResponseCode)) || LATER_WORDS.test(words);
    const refused = later ? 'SERVER_UNAVAILABLE' : 'SERVER_REFUSED';
    return said(words, context, { code: refused, detail: `${status} ${words}` });
  }
  if (code === 'ClosedAfterConnectText' || code === 'ClosedAfterConnectTLS')
    return {
      code: 'CONNECTION_LOST',
      detail: 'the server closed the connection before it was ready',
      remedy: 'check that `security` fits `port`: 993 and 465 are tls, 143 and 587 starttls',
    };
  const ownWords = code === '' || code === 'NoConnection' || code === 'EConnectionClosed';
  return { code: 'CONNECTION_LOST', detail: ownWords ? words : `${words} (${code})` };
}

/** With the reason that stands in the server's challenge (RFC 7628 §3.2.2; XOAUTH2 copies it). */
function withReason(words: string, challenge: unknown): string {
  const status =
    typeof challenge === 'object' && challenge !== null && 'status' in challenge && challenge.status;
  return status ? `${words} (${status})` : words;
}

/** What the server said, as its provider means it, and how long it wants to be left alone. */
function said(words: string, { provider }: FaultContext, general: Classified): Classified {
  const refusal = provider?.refusals.find((known) => known.words.test(words));
  const retryAfter = namedWait(words) ?? refusal?.retryAfter;
  return {
    ...general,
    ...(refusal !== undefined && { code: refusal.code, remedy: refusal.remedy }),
    ...(retryAfter !== undefined && { retryAfter }),
  };
}

/** Milliseconds. */
function namedWait(words: string): number | undefined {
  const [, milliseconds] = BACKOFF_TIME.exec(words) ?? [];
  if (milliseconds !== undefined) return Number(milliseconds);
  const [, count, minutes] = RETRY_AFTER.exec(words) ?? [];
  return count === undefined ? undefined : Number(count) * (minutes === undefined ? 1_000 : 60_000);
}

function refusedLogin(words: string, responseCode: string, context: FaultContext): Classified {
  const forNow =
    LATER_CODES.has(responseCode) || (responseCode !== 'AUTHENTICATIONFAILED' && LATER_WORDS.test(words));
  const { provider, byToken } = context;
  if (forNow)
    return said(words, context, {
      code: 'SERVER_UNAVAILABLE',
      detail: `login refused for now: ${words}`,
    });
  const general = byToken
    ? refusedToken(words, provider?.refusedToken)
    : refusedPassword(words, responseCode, provider?.refusedPassword);
  return said(words, context, general);
}

function refusedToken(words: string, usual: Meaning | undefined): Classified {
  if (NO_MECHANISM.test(words))
    return {
      code: 'AUTH_LOGIN_DISABLED',
      detail: 'the server offers neither OAUTHBEARER nor XOAUTH2',
      remedy: 'use a `password`, or `security: tls` where it offers them under TLS only',
    };
  return {
    code: 'AUTH_FAILED',
    detail: words,
    remedy: 'check `user` and `scope`, and that IMAP, or SMTP, is allowed for this mailbox',
    ...usual,
  };
}

function refusedPassword(words: string, responseCode: string, usual: Meaning | undefined): Classified {
  if (APP_PASSWORD_WORDS.test(words))
    return {
      code: 'AUTH_APP_PASSWORD',
      detail: words,
      remedy: "make an application password in the provider's account settings and configure that",
    };
  if (BASIC_DISABLED_WORDS.test(words))
    return {
      code: 'AUTH_BASIC_DISABLED',
      detail: words,
      remedy: 'the server takes OAuth2 only: configure `auth: { oauth2: … }` instead of `password`',
    };
  if (IMAP_DISABLED_WORDS.test(words))
    return {
      code: 'AUTH_IMAP_DISABLED',
      detail: words,
      remedy: "switch IMAP on in the provider's mail settings, or have the administrator allow it",
    };
  if (usual !== undefined && responseCode !== 'PRIVACYREQUIRED') return { detail: words, ...usual };
  if (responseCode === 'PRIVACYREQUIRED' || LOGIN_DISABLED_WORDS.test(words) || NO_MECHANISM.test(words))
    return {
      code: 'AUTH_LOGIN_DISABLED',
      detail: words,
      remedy: 'use `security: tls` or `starttls`, and check that the server allows login by password',
    };
  return { code: 'AUTH_FAILED', detail: words, remedy: 'check `user` and `password`' };
}

/** Which names the certificate carries; node:tls leaves them out where `host` is an address. */
function wrongHost(
  error: ThrownError & { cert?: { subjectaltname?: unknown; subject?: { CN?: unknown } } },
  host: string,
) {
  const names = text(error.cert?.subjectaltname) || text(error.cert?.subject?.CN);
  return `the server's certificate is not for ${host} but for ${names || 'nobody'}`;
}

const text = (value: unknown): string => (typeof value === 'string' ? value : '');
