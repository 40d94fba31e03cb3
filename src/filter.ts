/** Filters: which messages of an account are left out. The rules as plain data, and the one place where they are judged. */
import type { MessageMetadata } from './model.ts';
import { matchesPattern, type Pattern } from './pattern.ts';

/** A text that occurs anywhere, whatever its case, or a regular expression. */
export type TextTest = { contains: string } | Pattern;

/** What a rule asks of a message; all of it must hold, null asks nothing. */
export interface Rule {
  /** Unique within the account. */
  name: string;
  /** Of the address that the document calls `sender`. */
  sender: TextTest | null;
  /** Of an address of To, Cc or Bcc. */
  recipient: TextTest | null;
  subject: TextTest | null;
  /** Of each named field (lower case) one has such a text, or one is there (true), or none (false). */
  headers: { name: string; test: TextTest | boolean }[];
  /** RFC822.SIZE, bytes. */
  largerThan: number | null;
  smallerThan: number | null;
  /** INTERNALDATE at the time the message is judged, ms. */
  olderThan: number | null;
  youngerThan: number | null;
  /** Whether it came through a mailing list. */
  list: boolean | null;
  /** Whether a program wrote it (RFC 3834). */
  automatic: boolean | null;
  attachment: boolean | null;
}

/** What a rule that asks nothing asks. */
export const NO_CONDITIONS: Omit<Rule, 'name'> = {
  sender: null,
  recipient: null,
  subject: null,
  headers: [],
  largerThan: null,
  smallerThan: null,
  olderThan: null,
  youngerThan: null,
  list: null,
  automatic: null,
  attachment: null,
};

/**
 * An account's rules: a message is left out where `only` has rules and none of them matches, or where one of `except`
 * does.
 */
export interface Filter {
  only: Rule[];
  except: Rule[];
}

/** A message that is to be judged, and what is known of it without its bytes. */
export interface Candidate {
  filter: Filter;
  /** RFC822.SIZE, bytes: not what is counted later, so that the verdict is the same. Null where the server does not tell it. */
  size: number | null;
  /** INTERNALDATE, ms. */
  internalDate: number;
  /** Now, ms. */
  at: number;
}

/** A message as the server tells of it, judged at an instant, ms. */
export const candidateOf = (
  filter: Filter,
  { size, sizeUntold, internalDate }: MessageMetadata,
  at: number,
): Candidate => ({ filter, size: sizeUntold ? null : size, internalDate, at });

/** What rules ask of a header, decoded as the document has it. */
export interface HeaderFacts {
  sender: string;
  recipients: string[];
  subject: string;
  fields: readonly (readonly [name: string, text: string])[];
  list: boolean;
  automatic: boolean;
}

/** `undecided`: what was not given decides. `rule`: which one left it out, or `NONE_OF_ONLY`. */
export type Verdict = { kind: 'taken' } | { kind: 'undecided' } | { kind: 'filtered'; rule: string };

/** The reason where no rule of `only` matches. */
export const NONE_OF_ONLY = 'no rule of only';

/** What a rule must know of a message: what FETCH tells without its bytes, its header, or all of it. */
export type Depth = 'metadata' | 'header' | 'message';
const DEPTHS: readonly Depth[] = ['metadata', 'header', 'message'];

/**
 * Judges a message by what is known of it. What is decided early is never decided otherwise later: steps that need
 * less go first, and one that is unknown ends the judging. What all of a message leaves undecided is taken.
 */
export function judge(
  candidate: Candidate,
  header: HeaderFacts | null,
  hasAttachments: boolean | null,
): Verdict {
  for (const { reason, leavesOut } of stepsOf(candidate.filter)) {
    const left = leavesOut({ ...candidate, header, hasAttachments });
    if (left === null) return { kind: 'undecided' };
    if (left) return { kind: 'filtered', rule: reason };
  }
  return { kind: 'taken' };
}

/** The first rule of `only` that a header is enough for to take the message; null where there is none. */
export function takenBy(candidate: Candidate, header: HeaderFacts | null): string | null {
  const facts = { ...candidate, header, hasAttachments: null };
  return candidate.filter.only.find((rule) => matches(rule, facts) === true)?.name ?? null;
}

/** Every reason that `judge` can give. */
export function reasonsOf(filter: Filter): string[] {
  return stepsOf(filter).map(({ reason }) => reason);
}

/** What the rules must know at most. */
export function depthOf({ only, except }: Filter): Depth {
  return deepest([...only, ...except]);
}

interface Facts extends Omit<Candidate, 'filter'> {
  header: HeaderFacts | null;
  hasAttachments: boolean | null;
}

/** True, false, or null where it is not known: Kleene's logic. */
type Known = boolean | null;

const every = (all: readonly Known[]): Known =>
  all.includes(false) ? false : all.includes(null) ? null : true;
const some = (all: readonly Known[]): Known =>
  all.includes(true) ? true : all.includes(null) ? null : false;
const not = (one: Known): Known => (one === null ? null : !one);

interface Step {
  reason: string;
  depth: Depth;
  leavesOut(facts: Facts): Known;
}

const steps = new WeakMap<Filter, Step[]>();

function stepsOf(filter: Filter): Step[] {
  const known = steps.get(filter);
  if (known !== undefined) return known;
  const { only, except } = filter;
  const all: Step[] = except.map((rule) => ({
    reason: rule.name,
    depth: deepest([rule]),
    leavesOut: (facts) => matches(rule, facts),
  }));
  if (only.length > 0) {
    const leavesOut = (facts: Facts) => not(some(only.map((rule) => matches(rule, facts))));
    all.unshift({ reason: NONE_OF_ONLY, depth: deepest(only), leavesOut });
  }
  const sorted = all.toSorted((one, other) => DEPTHS.indexOf(one.depth) - DEPTHS.indexOf(other.depth));
  steps.set(filter, sorted);
  return sorted;
}

function deepest(rules: readonly Rule[]): Depth {
  if (rules.some(({ attachment }) => attachment !== null)) return 'message';
  return rules.some(asksHeader) ? 'header' : 'metadata';
}

const asksHeader = ({ sender, recipient, subject, headers, list, automatic }: Rule): boolean =>
  headers.length > 0 || [sender, recipient, subject, list, automatic].some((test) => test !== null);

function matches(rule: Rule, facts: Facts): Known {
  const { header, size, hasAttachments } = facts;
  const age = facts.at - facts.internalDate;
  const conditions: Known[] = [];
  if (rule.largerThan !== null) conditions.push(size === null ? null : size > rule.largerThan);
  if (rule.smallerThan !== null) conditions.push(size === null ? null : size < rule.smallerThan);
  if (rule.olderThan !== null) conditions.push(age > rule.olderThan);
  if (rule.youngerThan !== null) conditions.push(age < rule.youngerThan);
  // What costs more is asked only where all before holds.
  if (conditions.includes(false)) return false;
  if (rule.attachment !== null)
    conditions.push(hasAttachments === null ? null : hasAttachments === rule.attachment);
  if (asksHeader(rule)) conditions.push(header === null ? null : matchesHeader(rule, header));
  return every(conditions);
}

function matchesHeader(rule: Rule, header: HeaderFacts): Known {
  return every([
    rule.list === null || header.list === rule.list,
    rule.automatic === null || header.automatic === rule.automatic,
    rule.sender === null || hasText(rule.sender, [header.sender]),
    rule.subject === null || hasText(rule.subject, [header.subject]),
    rule.recipient === null || hasText(rule.recipient, header.recipients),
    ...rule.headers.map(({ name, test }) => matchesField(name, test, header)),
  ]);
}

function matchesField(name: string, test: TextTest | boolean, { fields }: HeaderFacts): Known {
  const texts = fields.filter(([each]) => each.toLowerCase() === name).map(([, text]) => text);
  return typeof test === 'boolean' ? texts.length > 0 === test : hasText(test, texts);
}

/**
 * Characters that a regular expression is tried on, of all values of one condition together: 0.6 s at the worst
 * (measured), so that a header of 8 MB is judged well within limits.parseSeconds. What has more is not known to match or
 * not, and so is taken: the part that is cut off could decide.
 */
const MAX_PATTERN_TEXT = 65_536;

function hasText(test: TextTest, texts: readonly string[]): Known {
  if ('contains' in test) {
    const wanted = folded(test.contains);
    return texts.some((text) => folded(text).includes(wanted));
  }
  let left = MAX_PATTERN_TEXT;
  for (const text of texts) {
    left -= text.length;
    if (left < 0) return null;
    if (matchesPattern(test, text.normalize('NFC'))) return true;
  }
  return false;
}

/** Composed and decomposed letters are the same text; ς, σ and Σ, or ß and SS, are so only as capitals of small letters. */
const folded = (text: string): string => text.normalize('NFC').toLowerCase().toUpperCase();
