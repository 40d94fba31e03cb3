/** What every document that a test sees must be: whole, valid by the published schema, with its attachments. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js';

/** The fields of a document that tests look at (schema/message-v1.json has them all). */
export interface Document {
  id: string;
  account: string;
  folder: string;
  uid: number;
  uidValidity: string;
  subject: string | null;
  sender: { name: string | null; address: string } | null;
  body: string;
  messageId: string | null;
  receivedAt: string;
  keywords: string[];
  attachments: { filename: string | null; size: number; sha256: string; path: string | null }[];
  size: number;
  sha256: string;
  source: string | null;
  warnings: string[];
}

const SCHEMA = resolve(import.meta.dirname, '../../schema/message-v1.json');
let validate: ValidateFunction | null = null;

/** Reads a published document as a consumer would; throws where anything of it is missing or wrong. */
export function readDocument(file: string): Document {
  const text = readFileSync(file, 'utf8');
  if (!text.endsWith('}\n'))
    throw new Error(`${file} is not whole: ends in ${JSON.stringify(text.slice(-20))}`);
  const document = JSON.parse(text) as Document;
  // The schema names no format that Ajv would need another package for.
  validate ??= new Ajv2020({ allErrors: true, validateFormats: false }).compile(
    JSON.parse(readFileSync(SCHEMA, 'utf8')) as object,
  );
  if (!validate(document)) throw new Error(`${file} is not valid: ${JSON.stringify(validate.errors)}`);
  for (const { path, size, sha256 } of document.attachments) {
    if (path === null) continue;
    demandBytes(join(dirname(file), path), { size, sha256 });
  }
  if (document.source !== null) demandBytes(join(dirname(file), document.source), document);
  return document;
}

/** What a document points to is there, with the bytes that it tells of. */
function demandBytes(file: string, { size, sha256 }: { size: number; sha256: string }): void {
  const content = readFileSync(file);
  if (content.length !== size) throw new Error(`${file}: wrong size`);
  if (createHash('sha256').update(content).digest('hex') !== sha256) throw new Error(`${file}: wrong hash`);
}
