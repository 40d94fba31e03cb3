/** What is known of a mail provider beforehand. */
import type { ErrorCode } from '../errors.ts';

/** What a refusal means, and what the operator can do about it. */
export interface Meaning {
  code: Extract<ErrorCode, `AUTH_${string}` | 'SERVER_UNAVAILABLE'>;
  /** An imperative sentence. */
  remedy: string;
}

/** A refusal that a provider puts into words of its own. */
export interface Refusal extends Meaning {
  /** In the text of a tagged NO or BAD, or of a BYE (RFC 3501 §7.1). */
  words: RegExp;
  /** Milliseconds in which trying again is of no use, where the server names no wait but its provider does. */
  retryAfter?: number;
}

export interface Provider {
  /** As it is told to people. */
  title: string;
  /** Its IMAP server: TLS on port 993 (RFC 8314 §3.2), as the configuration has it by default. */
  host: string;
  /** Names of servers that are its own, as are all below them; lower case. */
  domains: readonly string[];
  /** Where its servers end IDLE sooner than the default would renew it; written as in the configuration. */
  idleRenewEvery?: string;
  /** Connections of one account, those of other programs included. */
  connections?: number;
  /** Whom `auth.oauth2` asks for tokens, where it names nobody. */
  oauth2?: 'google' | 'microsoft';
  /** The first one that fits counts. */
  refusals: readonly Refusal[];
  /** A refused password, in whatever other words. */
  refusedPassword?: Meaning;
  /** A refused access token, likewise. */
  refusedToken?: Meaning;
}
