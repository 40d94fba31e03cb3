/** Messages built in code, and their documents: each one valid by the schema, and the same twice. */
import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { expect } from 'vitest';
import { type MessageDocument, type ParseOptions, parseMessage } from '../../src/message/document.ts';

const schema = JSON.parse(readFileSync(new URL('../../schema/message-v1.json', import.meta.url), 'utf8'));
const ajv = new Ajv2020({ allErrors: true, strict: true, strictTypes: false });
const validate = ajv.compile(schema);

/** NUL or a lone surrogate, as JSON writes them. */
const NO_TEXT = /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/;

/** Fails the test where a document is not as the schema says. */
export function expectValid(document: unknown): void {
  const valid = validate(document);
  expect(valid ? [] : validate.errors).toEqual([]);
  expect(JSON.stringify(document)).not.toMatch(NO_TEXT);
}

/** Lines to bytes, ended by CRLF. A character above U+00FF is a mistake of the test. */
export function mail(...lines: string[]): Buffer {
  return Buffer.from(lines.join('\r\n'), 'latin1');
}

/** The bytes of a text in UTF-8, as characters of a Latin-1 string, for `mail`. */
export const utf8 = (text: string) => Buffer.from(text, 'utf8').toString('latin1');

/** A header that warns of nothing, with more fields and a body. */
export function plain(fields: string[], ...body: string[]): Buffer {
  return mail('From: Ann <ann@example.org>', 'Date: Fri, 20 Nov 2026 11:00:00 +0100', ...fields, '', ...body);
}

export interface Parsed extends MessageDocument {
  /** Contents of the attachments, in order. */
  contents: Buffer[];
  /** Their file names. */
  files: string[];
}

export function parsed(message: Buffer, options: Partial<ParseOptions> = {}): Parsed {
  const contents: Buffer[] = [];
  const files: string[] = [];
  const onAttachment = (file: string, content: Buffer, id: string) => {
    contents.push(Buffer.from(content));
    files.push(file);
    return `${id}/${file}`;
  };
  const before = Buffer.from(message);
  const document = parseMessage(message, { identity: null, onAttachment, ...options });
  expect(message.equals(before), 'the source is left as it was').toBe(true);
  expectValid(document);
  expect(parseMessage(message, { identity: null, onAttachment, ...options })).toEqual(document);
  const half = contents.length / 2;
  return { ...document, contents: contents.slice(0, half), files: files.slice(0, half) };
}
