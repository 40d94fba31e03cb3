/** Secrets that are found again, in every form in which programs and servers write them. */

/**
 * As it is, as two-byte text, as hexadecimal digits, and in base64 wherever it stands in what is encoded: alone, in
 * SASL PLAIN and LOGIN (RFC 4616), in a header field.
 */
export function formsOf(canary: string): Buffer[] {
  const bytes = Buffer.from(canary);
  const inBase64 = [0, 1, 2].map((before) => {
    const encoded = Buffer.concat([Buffer.alloc(before), bytes])
      .toString('base64')
      .replace(/=+$/, '');
    // Characters that also hold bits of what stands before and behind it.
    return encoded.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const forms = [canary, bytes.toString('hex'), ...inBase64].map((form) => Buffer.from(form));
  return [...forms, Buffer.from(canary, 'utf16le')];
}
