/** Attack `hostile-mail`: generated, mutated and monstrous messages; each gives its document, and the parsers live. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { MessageDocument } from '../../../src/message/document.ts';
import { makeCorpus } from '../../servers/corpus.ts';
import { type Random, seededRandom, shuffled } from '../../servers/random.ts';
import type { Attack, AttackOptions, Fault, Report } from '../attack.ts';
import { BOMBS, THOSE_OF_THE_ISSUE } from './bombs.ts';
import { blast } from './daemon.ts';
import { type Expected, makeHostile } from './generator.ts';
import { join } from './joined.ts';
import { exhaust } from './limits.ts';
import { type Fails, minimise } from './minimise.ts';
import { mutate } from './mutations.ts';
import { type Answer, documentFaults, parseMessages, strayFiles } from './parse.ts';
import { hostileWords, type Words } from './words.ts';

/** Of so many cases one is cut off, one is whole, and the next is that with a part more. */
const ROUND = 20;

/** Of a run without end. */
const THOROUGH_CASES = 100_000;
/** After so many it is told. */
const PROGRESS = 10_000;
/** However little time there is. */
const LEAST_CASES = 1000;
/** Messages to mutate; those of MAILWATCHD_TEST_CORPUS come first. */
const SEEDS = 600;
/** Of a message to mutate, bytes: harm in a large attachment is no news. */
const LARGEST_SEED = 40_000;
/** Messages a call: enough that the start of the program does not count. Rounds are never split. */
const BATCH = 20 * ROUND;
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
  /** Faults of the document beside those that none may have; `before` is that of the case before. */
  demands(document: MessageDocument, before: Answer): string[];
}

/** What all cases of a run are made from. */
interface Material {
  seed: number;
  words: Words;
  seeds: readonly Buffer[];
}

export const hostileMail: Attack = {
  name: 'hostile-mail',
  description: 'broken, mutated and monstrous messages',
  async run(options): Promise<Report> {
    const directory = mkdtempSync(path.join(tmpdir(), 'mailwatchd-hostile-'));
    try {
      return await attack(options, directory);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  },
};

async function attack(options: AttackOptions, directory: string): Promise<Report> {
  const { seed, budget, thorough, only, tell } = options;
  const begun = performance.now();
  const until = (part: number) => (thorough ? Number.POSITIVE_INFINITY : begun + part * budget);
  const report: Report = { runs: 0, faults: [] };
  const add = ({ runs, faults }: Report) => {
    report.runs += runs;
    const [first] = report.faults.length === 0 ? faults : [];
    if (first)
      tell(`the first finding after ${Math.round((performance.now() - begun) / 1000)} s: ${first.where}`);
    report.faults.push(...faults);
  };
  await manyMessages(options, directory, until(0.5), add);
  tell(`${report.runs} messages`);

  const limits = await exhaust(seed, until(0.7), only);
  tell(`${limits.runs} parsers that never end, or take what there is`);
  add(limits);

  const random = seededRandom(seed);
  const bombs = [...BOMBS.slice(0, THOSE_OF_THE_ISSUE), ...shuffled(random, BOMBS.slice(THOSE_OF_THE_ISSUE))];
  const blown = await blast(
    bombs.filter(({ name }) => only.test(name)),
    until(1),
  );
  tell(
    `${blown.runs} of ${bombs.length} monsters: daemon at most ${blown.peaks.daemon} MiB, parsers ${blown.peaks.parser} MiB`,
  );
  add(blown);
  return report;
}

async function manyMessages(
  { seed, thorough, only, tell }: AttackOptions,
  directory: string,
  ends: number,
  add: (report: Report) => void,
): Promise<void> {
  const seeds = makeCorpus(seed, SEEDS)
    .map(({ raw }) => raw)
    .filter(({ length }) => length <= LARGEST_SEED);
  const material: Material = { seed, words: hostileWords(seed), seeds };
  let number = 0;
  let found = 0;
  let minimised = 0;
  const goesOn = () =>
    number < LEAST_CASES || (thorough ? number < THOROUGH_CASES : performance.now() < ends);
  while (found < MOST_FAULTS && goesOn()) {
    const wanted = Array.from({ length: BATCH }, (_, index) => number + index).filter(
      // What a case is compared with goes with it.
      (one) => only.test(nameOf(one)) || (kindOf(one) === 'whole' && only.test(nameOf(one + 1))),
    );
    const cases = wanted.map((one) => makeCase(material, one));
    number += BATCH;
    if (cases.length === 0) continue;
    const { faults, wrong } = await attempt(cases, directory);
    add({ runs: cases.length, faults });
    found += faults.length;
    if (number % PROGRESS === 0) tell(`${number} messages so far`);
    for (const { one, fault } of wrong.slice(0, Math.max(0, MOST_MINIMISED - minimised))) {
      fault.where = await minimalCase(one, directory, fault.what);
      minimised += 1;
    }
  }
}

type Kind = 'cut' | 'whole' | 'joined' | 'generated' | 'mutated';

function kindOf(number: number): Kind {
  const place = number % ROUND;
  return (['cut', 'whole', 'joined'] as const)[place] ?? (place % 2 === 0 ? 'mutated' : 'generated');
}

const nameOf = (number: number): string => `${kindOf(number)} ${number}`;

/** The n-th case of a seed, whatever came before it. */
function makeCase(material: Material, number: number): Case {
  const random = seededRandom(material.seed + number * 0x9e3779b1);
  switch (kindOf(number)) {
    case 'cut':
      return cutCase(material, number);
    case 'whole':
      return { name: nameOf(number), raw: whole(material, number), demands: () => [] };
    case 'joined':
      return joinedCase(material, number) ?? mutatedCase(random, number, material);
    case 'mutated':
      return mutatedCase(random, number, material);
    case 'generated': {
      const { raw, expected } = makeHostile(random, material.words);
      return { name: nameOf(number), raw, demands: (document) => unexpected(document, expected) };
    }
  }
}

/** Messages are cut at one byte after the other: a run without end comes to each byte of some. */
function cutCase({ seed, seeds }: Material, number: number): Case {
  let length = number / ROUND;
  for (let at = seed % seeds.length; ; at = (at + 1) % seeds.length) {
    const raw = seeds[at]!;
    if (length < raw.length)
      return {
        name: `${nameOf(number)} (message ${at} after ${length} bytes)`,
        raw: raw.subarray(0, length),
        demands: () => [],
      };
    length -= raw.length;
  }
}

const whole = ({ seed, seeds }: Material, number: number): Buffer => seededRandom(seed + number).pick(seeds);

/** The message of the case before, with a part more. */
function joinedCase(material: Material, number: number): Case | null {
  const joined = join(seededRandom(material.seed + number), whole(material, number - 1));
  if (joined === null) return null;
  return {
    name: `${nameOf(number)} (${joined.name})`,
    raw: joined.raw,
    demands: (document, before) => (before !== null && 'id' in before ? joined.hidden(before, document) : []),
  };
}

function mutatedCase(random: Random, number: number, { seeds }: Material): Case {
  const from = random.between(0, seeds.length - 1);
  const { raw, name } = mutate(random, seeds[from]!, random.pick(seeds));
  return { name: `${nameOf(number)} (message ${from}: ${name})`, raw, demands: () => [] };
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
    document.attachments.map(({ contentType, sha256 }) => [contentType, sha256]),
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

interface Attempt {
  faults: Fault[];
  /** Of the faults, those that are of one message's document. */
  wrong: { one: Case; fault: Fault }[];
}

/** Twice, and in another order: what one message leaves behind must not show in another's document. */
async function attempt(cases: readonly Case[], directory: string): Promise<Attempt> {
  const faults: Fault[] = [];
  const add = (kind: Fault['kind'], where: string, what: string) => void faults.push({ kind, where, what });
  const output = path.join(directory, 'out');
  const first = await parseMessages(
    directory,
    cases.map(({ raw }) => raw),
  );
  const wrong = cases.flatMap((one, index): Attempt['wrong'] => {
    const [answer = null, before = null] = [first.answers[index], first.answers[index - 1]];
    const [what] = faultsOf(one, answer, before, output);
    return what === undefined ? [] : [{ one, fault: { kind: 'other', where: one.name, what } }];
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
  return { faults: [...wrong.map(({ fault }) => fault), ...faults].slice(0, MOST_FAULTS), wrong };
}

function faultsOf({ raw, demands }: Case, answer: Answer, before: Answer, output: string): string[] {
  const faults = documentFaults(raw, answer, output);
  return faults.length > 0 ? faults : demands(answer as MessageDocument, before);
}

/** Its name, and the least that has a fault of the same beginning, where the fault can be told of any message. */
async function minimalCase({ name, raw }: Case, directory: string, what: string): Promise<string> {
  const kind = what.slice(0, 12);
  const fails: Fails = async (candidates) => {
    const { answers } = await parseMessages(directory, candidates);
    return candidates.map(
      (candidate, index) =>
        documentFaults(candidate, answers[index] ?? null, path.join(directory, 'out'))[0]?.startsWith(kind) ??
        false,
    );
  };
  const [again] = await fails([raw]);
  const least = again ? await minimise(raw, fails) : raw;
  return `${name}: ${JSON.stringify(least.toString('latin1')).slice(0, MAX_SHOWN)}`;
}
