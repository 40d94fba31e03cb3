/** Attack `hostile-mail`: generated, mutated and monstrous messages; each gives its document, and the parsers live. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MessageDocument } from '../../src/message/document.ts';
import { makeCorpus } from '../servers/corpus.ts';
import { type Random, seededRandom } from '../servers/random.ts';
import type { Attack, AttackOptions, Fault, Report } from './attack.ts';
import { BOMBS, THOSE_OF_THE_ISSUE } from './hostile-mail-bombs.ts';
import { blast } from './hostile-mail-daemon.ts';
import { type Expected, makeHostile } from './hostile-mail-generator.ts';
import { type Fails, minimise } from './hostile-mail-minimise.ts';
import { mutate } from './hostile-mail-mutations.ts';
import { type Answer, documentFaults, parseMessages, strayFiles } from './hostile-mail-parse.ts';

/** Of a run without end. */
const THOROUGH_CASES = 100_000;
/** Messages to mutate; those of MAILWATCHD_TEST_CORPUS come first. */
const SEEDS = 600;
/** Each so many-th message is cut off. */
const CUT_EVERY = 20;
/** Of a message to mutate, bytes: harm in a large attachment is no news. */
const LARGEST_SEED = 40_000;
/** Messages a call: enough that the start of the program does not count. */
const BATCH = 400;
/** A fault that many messages have is told so often. */
const MOST_FAULTS = 10;
/** Of these the least message that fails is looked for: it takes half a minute. */
const MOST_MINIMISED = 2;
/** Of the least message that fails, characters. */
const MAX_SHOWN = 1000;

interface Case {
  /** Names it to whoever repeats it. */
  name: string;
  raw: Buffer;
  /** Faults of the document beside those that none may have. */
  demands(document: MessageDocument): string[];
}

export const hostileMail: Attack = {
  name: 'hostile-mail',
  description: 'broken, mutated and monstrous messages',
  async run(options): Promise<Report> {
    const directory = mkdtempSync(join(tmpdir(), 'mailwatchd-hostile-'));
    try {
      return await attack(options, directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function attack(options: AttackOptions, directory: string): Promise<Report> {
  const { seed, budget, thorough, tell } = options;
  const begun = performance.now();
  const endless = Number.POSITIVE_INFINITY;
  const { runs, faults } = await manyMessages(options, directory, begun + budget / 2);
  tell(`${runs} messages`);

  const random = seededRandom(seed);
  const bombs = [...BOMBS.slice(0, THOSE_OF_THE_ISSUE), ...shuffled(random, BOMBS.slice(THOSE_OF_THE_ISSUE))];
  const blown = await blast(bombs, thorough ? endless : begun + budget);
  tell(
    `${blown.runs} of ${bombs.length} monsters: daemon at most ${blown.peaks.daemon} MiB, ` +
      `parsers ${blown.peaks.parser} MiB; quarantined: ${blown.quarantined.join('; ') || 'none'}`,
  );
  return { runs: runs + blown.runs, faults: [...faults, ...blown.faults] };
}

/** A batch at least. */
async function manyMessages(
  { seed, thorough }: AttackOptions,
  directory: string,
  ends: number,
): Promise<Report> {
  const faults: Fault[] = [];
  const seeds = makeCorpus(seed, SEEDS)
    .map(({ raw }) => raw)
    .filter(({ length }) => length <= LARGEST_SEED);
  let runs = 0;
  do {
    const cases = Array.from({ length: BATCH }, (_, index) => makeCase(seed, runs + index, seeds));
    faults.push(...(await attempt(cases, directory)));
    runs += cases.length;
  } while (faults.length < MOST_FAULTS && (thorough ? runs < THOROUGH_CASES : performance.now() < ends));
  return { runs, faults };
}

/** In another order. */
function shuffled<T>(random: Random, list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, order: random.fraction() }))
    .toSorted((a, b) => a.order - b.order)
    .map(({ item }) => item);
}

/** The n-th case of a seed, whatever came before it. */
function makeCase(seed: number, number: number, seeds: readonly Buffer[]): Case {
  const random = seededRandom(seed + number * 0x9e3779b1);
  if (number % CUT_EVERY === 0) return cutCase(seed, number);
  return number % 2 === 0 ? generatedCase(random, number) : mutatedCase(random, number, seeds);
}

/** One message, cut at one byte after the other: a run without end comes to each of them. */
function cutCase(seed: number, number: number): Case {
  const { raw } = makeHostile(seededRandom(seed));
  const length = (number / CUT_EVERY) % raw.length;
  return { name: `cut ${number} (after ${length} bytes)`, raw: raw.subarray(0, length), demands: () => [] };
}

function generatedCase(random: Random, number: number): Case {
  const { raw, expected } = makeHostile(random);
  return { name: `generated ${number}`, raw, demands: (document) => unexpected(document, expected) };
}

function mutatedCase(random: Random, number: number, seeds: readonly Buffer[]): Case {
  const from = random.between(0, seeds.length - 1);
  const { raw, name } = mutate(random, seeds[from]!, random.pick(seeds));
  return { name: `mutated ${number} (message ${from}: ${name})`, raw, demands: () => [] };
}

/** What differs from what was written. */
function unexpected(document: MessageDocument, expected: Expected): string[] {
  const faults: string[] = [];
  const same = (what: string, is: unknown, should: unknown) => {
    if (JSON.stringify(is) !== JSON.stringify(should))
      faults.push(`${what} is ${JSON.stringify(is)}, not ${JSON.stringify(should)}`);
  };
  same('subject', document.subject, expected.subject);
  same('sender', document.sender, expected.sender);
  same('sentAt', document.sentAt, expected.sentAt);
  same('messageId', document.messageId, expected.messageId);
  same(
    'attachments',
    document.attachments.map(({ sha256 }) => sha256),
    expected.attachments,
  );
  const body = expected.texts.length > 0 ? expected.texts : expected.htmls;
  if (!holdsInOrder(document.body, body)) same('body', document.body, body);
  if (!holdsInOrder(document.html ?? '', expected.htmls)) same('html', document.html, expected.htmls);
  return faults;
}

function holdsInOrder(text: string, pieces: readonly string[]): boolean {
  let at = 0;
  return pieces.every((piece) => {
    const found = text.indexOf(piece, at);
    at = found + piece.length;
    return found >= 0;
  });
}

/** Twice, and in another order: what one message leaves behind must not show in another's document. */
async function attempt(cases: readonly Case[], directory: string): Promise<Fault[]> {
  const faults: Fault[] = [];
  const add = (kind: Fault['kind'], where: string, what: string) => void faults.push({ kind, where, what });
  const first = await parseMessages(
    directory,
    cases.map(({ raw }) => raw),
  );
  const wrong = cases.flatMap((one, index) => {
    const [what] = faultsOf(one, first.answers[index] ?? null, join(directory, 'out'));
    return what === undefined ? [] : [{ one, what }];
  });
  for (const stray of strayFiles(directory, first.answers))
    add('other', 'a call', `left ${JSON.stringify(stray)}`);
  if (first.trouble) add(first.trouble.kind, `${cases[0]?.name} and those after it`, first.trouble.what);

  const reversed = cases.toReversed();
  const second = await parseMessages(
    directory,
    reversed.map(({ raw }) => raw),
  );
  for (const [index, { name }] of reversed.entries()) {
    if (second.lines[index] !== first.lines.at(-1 - index))
      add('other', name, 'another document the second time');
  }
  for (const [index, { one, what }] of wrong.slice(0, MOST_FAULTS).entries())
    add('other', await describe(one, index < MOST_MINIMISED ? directory : null, what), what);
  return faults;
}

function faultsOf({ raw, demands }: Case, answer: Answer, output: string): string[] {
  const faults = documentFaults(raw, answer, output);
  return faults.length > 0 ? faults : demands(answer as MessageDocument);
}

/** Its name, and the least that has a fault of the same beginning, where the fault can be told of any message. */
async function describe(one: Case, directory: string | null, what: string): Promise<string> {
  if (directory === null) return one.name;
  const kind = what.slice(0, 12);
  const fails: Fails = async (candidates) => {
    const { answers } = await parseMessages(directory, candidates);
    return candidates.map(
      (raw, index) =>
        documentFaults(raw, answers[index] ?? null, join(directory, 'out'))[0]?.startsWith(kind) ?? false,
    );
  };
  const [again] = await fails([one.raw]);
  const least = again ? await minimise(one.raw, fails) : one.raw;
  return `${one.name}: ${JSON.stringify(least.toString('latin1')).slice(0, MAX_SHOWN)}`;
}
