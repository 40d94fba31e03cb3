/** What the servers of providers really say, from public threads: for the scripted server. */
import type { ErrorCode } from '../../src/errors.ts';
import type { ProviderName } from '../../src/providers/index.ts';

/** How a server introduces itself. */
export interface Manners {
  greeting: string;
  /** Beside IMAP4rev1, which each of them has. */
  capabilities: string[];
  /** Where that was seen. */
  source: string;
}

const words = (text: string) => text.split(' ');

/** Of those whose logs can be read in public. */
export const MANNERS: Partial<Record<ProviderName, Manners>> = {
  gmail: {
    greeting: '* OK Gimap ready for requests from 192.0.2.1 x2mb241876667wmk',
    capabilities: words(
      'UNSELECT IDLE NAMESPACE QUOTA ID XLIST CHILDREN X-GM-EXT-1 UIDPLUS COMPRESS=DEFLATE ENABLE MOVE CONDSTORE ESEARCH UTF8=ACCEPT LIST-EXTENDED LIST-STATUS LITERAL- SPECIAL-USE APPENDLIMIT=35651584 XYZZY SASL-IR AUTH=XOAUTH2 AUTH=PLAIN AUTH=PLAIN-CLIENTTOKEN AUTH=OAUTHBEARER',
    ),
    source: 'https://github.com/jstedfast/MailKit/issues/1396',
  },
  microsoft365: {
    greeting:
      '* OK The Microsoft Exchange IMAP4 service is ready. [RgBSADAAUAAyADgAMQBDAEEAMAAxADIAMgAuAEQARQBVAFAAMgA4ADEALgBQAFIATwBEAC4ATwBVAFQATABPAE8ASwAuAEMATwBNAA==]',
    capabilities: words(
      'IMAP4 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS MOVE ID UNSELECT CLIENTACCESSRULES CLIENTNETWORKPRESENCELOCATION BACKENDAUTHENTICATE CHILDREN IDLE NAMESPACE LITERAL+',
    ),
    source: 'https://github.com/jstedfast/MailKit/issues/1494',
  },
  yahoo: {
    greeting: '* OK Welcome! IMAP Server up and ready to accept your request',
    capabilities: words(
      'SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER ID MOVE NAMESPACE XYMHIGHESTMODSEQ UIDPLUS LITERAL+ CHILDREN UNSELECT X-MSG-EXT OBJECTID IDLE ENABLE UIDONLY X-ALL-MAIL X-UIDONLY LIST-EXTENDED LIST-STATUS SPECIAL-USE PARTIAL APPENDLIMIT=41697280',
    ),
    source:
      'https://github.com/Enough-Software/enough_mail/issues/245, https://github.com/zone-eu/wildduck/pull/943',
  },
  icloud: {
    greeting:
      '* OK [CAPABILITY XAPPLEPUSHSERVICE IMAP4 IMAP4rev1 SASL-IR AUTH=ATOKEN AUTH=PLAIN] (2109B29-d3afe4d5aba6) pv33p00im-iscream021.me.com',
    capabilities: words(
      'XAPPLEPUSHSERVICE IMAP4 CONDSTORE ENABLE QRESYNC QUOTA NAMESPACE UIDPLUS CHILDREN BINARY UNSELECT SORT CATENATE URLAUTH LANGUAGE ESEARCH ESORT THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONTEXT=SEARCH CONTEXT=SORT WITHIN SASL-IR SEARCHRES METADATA ID XMSEARCH X-SUN-SORT ANNOTATE-EXPERIMENT-1 X-UNAUTHENTICATE X-SUN-IMAP XUM1 MULTISEARCH IDLE LIST-STATUS AUTH=ATOKEN AUTH=PLAIN',
    ),
    source: 'https://github.com/nextcloud/mail/issues/3401',
  },
  fastmail: {
    greeting: '* OK IMAP4 ready',
    capabilities: words(
      'IMAP4 LITERAL+ ENABLE UIDPLUS SASL-IR NAMESPACE CONDSTORE SORT LIST-EXTENDED QRESYNC MOVE SPECIAL-USE CREATE-SPECIAL-USE IDLE AUTH=PLAIN',
    ),
    source: 'https://github.com/Foundry376/Mailspring/issues/2217',
  },
  webde: {
    greeting:
      '* OK [CAPABILITY IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL+ MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN] IMAP server ready H miweb111 2651323638 IMAP-0MTLMM-1bTdBH3nBH-00SFx2',
    capabilities: words(
      'CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS LITERAL+ MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN APPENDLIMIT=27962027 AUTH=LOGIN AUTH=PLAIN',
    ),
    source: 'https://github.com/nextcloud/mail/issues/104',
  },
  ionos: {
    greeting:
      '* OK [CAPABILITY IMAP4rev1 CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN] IMAP server ready H mieue053 13.2 IMAP-1M7bm1-1fbThO44HF-0078Xg',
    capabilities: words(
      'CHILDREN ENABLE ID IDLE LIST-EXTENDED LIST-STATUS MOVE NAMESPACE QUOTA SASL-IR SORT SPECIAL-USE THREAD=ORDEREDSUBJECT UIDPLUS UNSELECT WITHIN AUTH=LOGIN AUTH=PLAIN',
    ),
    source: 'https://github.com/imapsync/imapsync/issues/140',
  },
  zoho: {
    greeting: '* OK svwall.zoho.com IMAP4 Server (Zoho Mail IMAP4rev1 Server version 1.0)',
    capabilities: words(
      'UNSELECT CHILDREN XLIST NAMESPACE IDLE MOVE ID AUTH=PLAIN SASL-IR UIDPLUS ESEARCH LIST-EXTENDED LIST-STATUS WITHIN COMPRESS=DEFLATE LITERAL- ACL',
    ),
    source: 'https://github.com/Foundry376/Mailspring/issues/1334',
  },
};

/** A refusal: what is answered to a command, without the tag, and what it has to be taken for. */
export interface RefusalSeen {
  provider: ProviderName | null;
  /** What is refused: the login by password or by access token, or, after it, SELECT. */
  at: 'password' | 'token' | 'folder';
  answer: string;
  code: ErrorCode;
  /** Milliseconds to be left alone. */
  retryAfter?: number;
  source: string;
}

export const REFUSALS: RefusalSeen[] = [
  {
    provider: 'gmail',
    at: 'password',
    answer:
      'NO [ALERT] Application-specific password required: https://support.google.com/accounts/answer/185833 (Failure)',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/LukeSmithxyz/mutt-wizard/issues/831',
  },
  {
    provider: 'gmail',
    at: 'password',
    answer:
      'NO [ALERT] Please log in via your web browser: https://support.google.com/mail/accounts/answer/78754 (Failure)',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/pmengal/MailSystem.NET/issues/17',
  },
  {
    provider: 'gmail',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)',
    code: 'AUTH_FAILED',
    source: 'https://github.com/andreiaugustin/gmail_extractor/issues/4',
  },
  {
    provider: 'gmail',
    at: 'password',
    answer:
      'NO [ALERT] Your account is not enabled for IMAP use. Please visit your Gmail settings page and enable your account for IMAP access. (Failure)',
    code: 'AUTH_IMAP_DISABLED',
    source: 'https://support.google.com/mail/answer/7126229',
  },
  {
    provider: 'gmail',
    at: 'token',
    answer: 'NO [ALERT] Too many simultaneous connections. (Failure)',
    code: 'SERVER_UNAVAILABLE',
    source: 'https://github.com/jstedfast/MailKit/issues/377',
  },
  {
    provider: 'gmail',
    at: 'folder',
    answer: 'NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)',
    code: 'SERVER_UNAVAILABLE',
    retryAfter: 900_000,
    source: 'https://github.com/ljmerza/ha-email-sensor/issues/16',
  },
  {
    provider: 'microsoft365',
    at: 'password',
    answer: 'NO LOGIN failed.',
    code: 'AUTH_BASIC_DISABLED',
    source: 'https://github.com/imapsync/imapsync/issues/317',
  },
  {
    provider: 'microsoft365',
    at: 'token',
    answer: 'NO AUTHENTICATE failed.',
    code: 'AUTH_FAILED',
    source: 'https://github.com/MicrosoftDocs/office-developer-exchange-docs/issues/87',
  },
  {
    provider: 'microsoft365',
    at: 'folder',
    answer: 'BAD User is authenticated but not connected.',
    code: 'SERVER_UNAVAILABLE',
    source: 'https://github.com/getmail6/getmail6/issues/214',
  },
  {
    provider: 'microsoft365',
    at: 'folder',
    answer: 'BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds',
    code: 'SERVER_UNAVAILABLE',
    retryAfter: 89_117,
    source: 'https://github.com/simonrob/email-oauth2-proxy/issues/191',
  },
  {
    provider: 'microsoft365',
    at: 'folder',
    answer: 'NO Request is throttled. Suggested Backoff Time: 299910 milliseconds',
    code: 'SERVER_UNAVAILABLE',
    retryAfter: 299_910,
    source: 'https://github.com/ikvk/imap_tools/issues/135',
  },
  {
    provider: 'microsoft365',
    at: 'password',
    answer:
      'NO LOGIN failed. Account is blocked. Login to your account via a web browser to verify your identity.',
    code: 'AUTH_FAILED',
    source: 'https://github.com/mscdex/node-imap/issues/799',
  },
  {
    provider: 'outlook',
    at: 'password',
    answer: 'NO Basic authentication is disabled.',
    code: 'AUTH_BASIC_DISABLED',
    source: 'https://github.com/holon-run/uxc/issues/445',
  },
  {
    provider: 'yahoo',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/Enough-Software/enough_mail/issues/245',
  },
  {
    provider: 'yahoo',
    at: 'folder',
    answer: 'NO [LIMIT] SELECT Rate limit hit.',
    code: 'SERVER_UNAVAILABLE',
    source: 'https://github.com/postalsys/imapflow/issues/75',
  },
  {
    provider: 'aol',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] AUTHENTICATE Invalid credentials',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/OfflineIMAP/offlineimap/issues/688',
  },
  {
    provider: 'icloud',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] Authentication failed',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/lefcha/imapfilter/issues/125',
  },
  {
    provider: 'fastmail',
    at: 'password',
    answer: 'NO Incorrect username, password or access token.',
    code: 'AUTH_APP_PASSWORD',
    source: 'https://github.com/rustmailer/bichon/issues/152',
  },
  {
    provider: 'gmx',
    at: 'password',
    answer: 'NO authentication failed',
    code: 'AUTH_FAILED',
    source: 'https://github.com/LogicLabs-OU/OpenArchiver/issues/431',
  },
  {
    provider: 'webde',
    at: 'password',
    answer: 'NO authentication failed',
    code: 'AUTH_FAILED',
    source: 'https://github.com/thunderbird/thunderbird-android/issues/5780',
  },
  {
    provider: 'zoho',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] Invalid credentials(Failure)',
    code: 'AUTH_FAILED',
    source: 'https://github.com/Foundry376/Mailspring/issues/1334',
  },
  {
    provider: 'zoho',
    at: 'password',
    answer:
      'NO [ALERT] You are yet to enable IMAP for your account. Please contact your administrator (Failure)',
    code: 'AUTH_IMAP_DISABLED',
    source: 'https://www.zoho.com/mail/help/imap-access.html',
  },
  {
    provider: 'ionos',
    at: 'password',
    answer: 'NO authentication failed',
    code: 'AUTH_FAILED',
    source: 'https://github.com/imapsync/imapsync/issues/140',
  },
  {
    provider: 'ovh',
    at: 'password',
    answer: 'NO [AUTHENTICATIONFAILED] Authentication failed.',
    code: 'AUTH_FAILED',
    source: 'https://github.com/cry-inc/dmarc-report-viewer/issues/86',
  },
  {
    // Yandex.
    provider: null,
    at: 'password',
    answer:
      'NO [AUTHENTICATIONFAILED] LOGIN Invalid credentials or IMAP is disabled sc=ebI8JB0ug4Y1_290737_53p',
    code: 'AUTH_FAILED',
    source: 'https://github.com/Foundry376/Mailspring/issues/904',
  },
  {
    // Dovecot.
    provider: null,
    at: 'password',
    answer:
      'NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded (mail_max_userip_connections=16)',
    code: 'SERVER_UNAVAILABLE',
    source: 'https://github.com/mscdex/node-imap/issues/606',
  },
  {
    // Dovecot.
    provider: null,
    at: 'password',
    answer: 'NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.',
    code: 'AUTH_LOGIN_DISABLED',
    source: 'https://github.com/imapsync/imapsync/issues/15',
  },
];
