/** The only file that imports mailparser: what of it is driven, synchronously and without its streams. */
import { parseAddressHeader } from 'mailparser';

export interface ParsedAddress {
  /** Decoded; empty where absent. */
  name: string;
  /** Empty where the entry holds none. */
  address: string;
}

/** The addresses of a field's text, groups flattened (mailparser's address parser is nodemailer's). */
export function parseAddressList(text: string): ParsedAddress[] {
  return parseAddressHeader(text, { flatten: true, decodePunycode: false }).value.map((entry) => ({
    name: entry.name ?? '',
    address: entry.address ?? '',
  }));
}
