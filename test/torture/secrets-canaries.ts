/** Passwords that are found again, in every form in which a mail program or a server writes them. */

/** As it is, quoted (RFC 3501 §4.3), in JSON, in base64 alone and as SASL PLAIN and LOGIN write it. */
export function formsOf(password: string, user = 'ann@example.org'): string[] {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const forms = [
    password,
    password.replace(/["\\]/g, '\\$&'),
    JSON.stringify(password).slice(1, -1),
    base64(password),
    base64(`\0${user}\0${password}`),
    encodeURIComponent(password),
  ];
  // The log escapes what it quotes once more.
  return [...new Set(forms.flatMap((form) => [form, form.replace(/["\\]/g, '\\$&')]))];
}
