/** `auth.oauth2` of an account: the providers that are known by name, and what its values have to do with each other. */
import { typeName } from './format.ts';
import { endpointSchema, oauth2Schema } from './schema.ts';
import { secretSource } from './secret-form.ts';
import { asMapping, type Fault, validateSection } from './section.ts';
import type { OAuth2Config } from './types.ts';
import type { KeyPath } from './yaml.ts';

type Endpoints = Pick<
  OAuth2Config,
  'tokenEndpoint' | 'authorizationEndpoint' | 'deviceAuthorizationEndpoint'
>;

interface Provider extends Endpoints {
  /** Access by IMAP: for somebody who logs in, with a refresh token, and for an application. */
  scopes: { login: string | null; application: string | null };
}

const GRANT_KEYS = ['clientId', 'clientSecret', 'serviceAccountKey', 'refreshToken'] as const;
type GrantKey = (typeof GRANT_KEYS)[number];
/** Which of these keys a grant needs, and which it may have. */
const GRANTS: Readonly<Record<OAuth2Config['grant'], { needs: GrantKey[]; takes: GrantKey[] }>> = {
  refreshToken: { needs: ['clientId'], takes: ['clientSecret', 'refreshToken'] },
  clientCredentials: { needs: ['clientId', 'clientSecret'], takes: [] },
  serviceAccount: { needs: ['serviceAccountKey'], takes: [] },
};

const PROVIDERS: Readonly<Record<string, (tenant: string) => Provider>> = {
  // https://developers.google.com/identity/protocols/oauth2/native-app and
  // https://developers.google.com/workspace/gmail/imap/xoauth2-protocol. Its device flow does not offer this scope.
  google: () => ({
    tokenEndpoint: 'https://oauth2.googleapis.com/token',
    // Else it gives a refresh token at the first login only.
    authorizationEndpoint: 'https://accounts.google.com/o/oauth2/v2/auth?access_type=offline&prompt=consent',
    deviceAuthorizationEndpoint: null,
    scopes: { login: 'https://mail.google.com/', application: 'https://mail.google.com/' },
  }),
  // https://learn.microsoft.com/entra/identity-platform/v2-oauth2-device-code and
  // https://learn.microsoft.com/exchange/client-developer/legacy-protocols/how-to-authenticate-an-imap-pop-smtp-application-by-using-oauth
  microsoft: (tenant) => {
    const base = `https://login.microsoftonline.com/${tenant}/oauth2/v2.0`;
    return {
      tokenEndpoint: `${base}/token`,
      authorizationEndpoint: `${base}/authorize`,
      deviceAuthorizationEndpoint: `${base}/devicecode`,
      scopes: {
        login: 'https://outlook.office.com/IMAP.AccessAsUser.All offline_access',
        application: 'https://outlook.office365.com/.default',
      },
    };
  },
};

const PROVIDER_FORMS = `expected ${Object.keys(PROVIDERS).join(', ')} or { tokenEndpoint: URL, … }`;

/**
 * Checks what stands under `auth.oauth2`; null with faults where it is not right. `readByOthers`: as for a password.
 * `ofAccount`: whom the account's own provider gets its tokens from, where none is named here.
 */
export function checkOAuth2(
  raw: unknown,
  path: KeyPath,
  faults: Fault[],
  readByOthers: boolean,
  ofAccount?: string,
): { oauth2: OAuth2Config } | null {
  const before = faults.length;
  const fault = (key: string, message: string) =>
    faults.push({ path: [...path, key], part: 'value', message });
  const given = asMapping(raw, path, faults);
  if (faults.length > before) return null;
  const { provider = ofAccount, clientSecret, serviceAccountKey, refreshToken, ...rest } = given;
  const alsoKnown = ['provider', 'clientSecret', 'serviceAccountKey', 'refreshToken'];
  const values = validateSection(oauth2Schema, rest, path, faults, {}, alsoKnown);
  const secret = (key: string, value: unknown) =>
    value === undefined || value === null ? null : secretSource(value, [...path, key], faults, readByOthers);
  const secrets = {
    clientSecret: secret('clientSecret', clientSecret),
    serviceAccountKey: secret('serviceAccountKey', serviceAccountKey),
    refreshToken: secret('refreshToken', refreshToken),
  };
  const grant = values.grant as OAuth2Config['grant'];
  for (const key of Object.hasOwn(GRANTS, grant) ? GRANT_KEYS : []) {
    const { needs, takes } = GRANTS[grant];
    const isGiven = given[key] !== undefined && given[key] !== null;
    if (needs.includes(key) && !isGiven) fault(key, `must be given with grant: ${grant}`);
    if (isGiven && ![...needs, ...takes].includes(key)) fault(key, `not with grant: ${grant}`);
  }
  const known = providerOf(provider, String(values.tenant), [...path, 'provider'], faults);
  const scope =
    (values.scope as string | null) ??
    known?.scopes[grant === 'refreshToken' ? 'login' : 'application'] ??
    null;
  if (known !== null && scope === null) fault('scope', 'must be given for a provider of your own');
  if (provider !== 'microsoft' && rest.tenant !== undefined)
    fault('tenant', 'is for provider: microsoft only');
  if (provider === 'microsoft' && grant === 'serviceAccount')
    fault('grant', 'serviceAccount is not for provider: microsoft');
  if (provider === 'google' && grant === 'clientCredentials')
    fault('grant', 'clientCredentials is not for provider: google');
  if (provider === 'microsoft' && grant === 'clientCredentials' && values.tenant === 'common')
    fault('tenant', "must be the directory's id or domain with grant: clientCredentials");
  if (faults.length > before || known === null || scope === null) return null;
  const { scopes: _, ...endpoints } = known;
  return {
    oauth2: {
      ...endpoints,
      ...secrets,
      scope,
      grant,
      clientId: values.clientId as string | null,
      tokenFile: values.tokenFile as string | null,
    },
  };
}

function providerOf(raw: unknown, tenant: string, path: KeyPath, faults: Fault[]): Provider | null {
  const before = faults.length;
  const fault = (found: string) => {
    faults.push({ path, part: 'value', message: `${PROVIDER_FORMS}, found ${found}` });
    return null;
  };
  if (typeof raw === 'string') {
    const known = Object.hasOwn(PROVIDERS, raw) ? PROVIDERS[raw] : undefined;
    return known === undefined ? fault('another string') : known(tenant);
  }
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) return fault(typeName(raw));
  const values = validateSection(endpointSchema, raw as Record<string, unknown>, path, faults, {});
  if (faults.length > before) return null;
  return { ...(values as unknown as Endpoints), scopes: { login: null, application: null } };
}
