/** An account's `only` and `except`: rules on what of its mail is wanted. */
import { type Filter, NONE_OF_ONLY, type Rule, type TextTest } from '../filter.ts';
import { parseDuration, parseSize, parseTextTest, textTestFault, typeName } from './format.ts';
import { ruleSchema } from './schema.ts';
import { asMapping, type Fault, validateSection } from './section.ts';
import type { KeyPath } from './yaml.ts';

/** ftext (RFC 5322 §3.6.8). */
const FIELD_NAME = /^[!-9;-~]{1,200}$/;

/** Checks both lists; null where there is no rule. What it returns is right only where it adds no fault. */
export function checkFilter(
  raw: { only: unknown; except: unknown },
  path: KeyPath,
  faults: Fault[],
): Filter | null {
  const only = checkRules(raw.only, [...path, 'only'], faults);
  const except = checkRules(raw.except, [...path, 'except'], faults);
  const names = new Set([NONE_OF_ONLY]);
  for (const { path: here, rule } of [...only, ...except]) {
    if (names.has(rule.name))
      faults.push({ path: [...here, 'name'], part: 'value', message: 'the same name a second time' });
    names.add(rule.name);
  }
  if (only.length + except.length === 0) return null;
  return { only: only.map(({ rule }) => rule), except: except.map(({ rule }) => rule) };
}

function checkRules(raw: unknown, path: KeyPath, faults: Fault[]): { path: KeyPath; rule: Rule }[] {
  if (raw === undefined || raw === null) return [];
  if (!Array.isArray(raw)) {
    faults.push({ path, part: 'value', message: `expected a list of rules, found ${typeName(raw)}` });
    return [];
  }
  return raw.flatMap((entry: unknown, index) => {
    const here = [...path, index];
    const before = faults.length;
    const mapping = asMapping(entry, here, faults);
    const rule = faults.length > before ? null : checkRule(mapping, here, faults);
    return rule === null ? [] : [{ path: here, rule }];
  });
}

/** Null for one with a fault. */
function checkRule(raw: Record<string, unknown>, path: KeyPath, faults: Fault[]): Rule | null {
  const before = faults.length;
  const { headers: rawHeaders, ...rest } = raw;
  const values = validateSection(ruleSchema, rest, path, faults, {}, ['headers']);
  const headers = checkHeaders(rawHeaders, [...path, 'headers'], faults);
  if (faults.length > before) return null;
  const { name, ...conditions } = values;
  if (headers.length === 0 && Object.values(conditions).every((value) => value === null)) {
    faults.push({ path, part: 'value', message: 'a rule without a condition would match every message' });
    return null;
  }
  const parsed = <T>(key: string, parse: (text: string) => T) =>
    values[key] === null ? null : parse(values[key] as string);
  return {
    name: name as string,
    sender: parsed('sender', parseTextTest),
    recipient: parsed('recipient', parseTextTest),
    subject: parsed('subject', parseTextTest),
    headers,
    largerThan: parsed('largerThan', parseSize),
    smallerThan: parsed('smallerThan', parseSize),
    olderThan: parsed('olderThan', parseDuration),
    youngerThan: parsed('youngerThan', parseDuration),
    list: values.list as boolean | null,
    automatic: values.automatic as boolean | null,
    attachment: values.attachment as boolean | null,
  };
}

/** Names of fields with what one of their values must hold; true: is there, false: is not. */
function checkHeaders(raw: unknown, path: KeyPath, faults: Fault[]): Rule['headers'] {
  return Object.entries(asMapping(raw, path, faults)).map(([name, value]) => {
    const here = [...path, name];
    if (!FIELD_NAME.test(name))
      faults.push({ path: here, part: 'key', message: 'expected the name of a header field' });
    const fault = typeof value === 'boolean' ? null : textTestFault(value);
    if (fault !== null) {
      const message = `expected a text, or /a regular expression/ with or without an i behind it; true or false, ${fault}`;
      faults.push({ path: here, part: 'value', message });
    }
    const test = typeof value === 'string' ? parseTextTest(value) : value === true;
    return { name: name.toLowerCase(), test: test as TextTest | boolean };
  });
}
