/** The guides of docs/providers/ hold what they say: their configurations load, and their refusals get their codes. */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { PROVIDER_NAMES } from '../../src/providers/index.ts';
import { load } from '../config/temporary.ts';
import { REFUSALS } from '../servers/providers.ts';

const directory = new URL('../../docs/providers/', import.meta.url);
const read = (file: string) => readFileSync(new URL(file, directory), 'utf8');
const index = read('README.md');
const guides = readdirSync(directory).filter((file) => file !== 'README.md');

const configurations = (guide: string) =>
  [...read(guide).matchAll(/^```yaml\n(.*?)^```$/gms)].map(([, yaml]) => yaml!);

/** `null` stands for a host of which nothing is known. */
async function providers(guide: string) {
  const loaded = await Promise.all(configurations(guide).map((yaml) => load(yaml)));
  expect(loaded.flatMap(({ warnings }) => warnings)).toEqual([]);
  return new Set(loaded.flatMap(({ config }) => config.accounts.map(({ provider }) => provider)));
}

/** What is refused, the answer and its code, of each row of the guide's one table. */
const refusals = (guide: string) =>
  [...read(guide).matchAll(/^\|(?! at |-).*$/gm)].map(([row]) => {
    const [, ...cells] = /^\| (\w+) \| `([^`]+)` \| `([A-Z_]+)` \| \S/.exec(row) ?? [row];
    return cells;
  });

describe.each(guides)('%s', (guide) => {
  test('has configurations that load', async () => {
    expect((await providers(guide)).size).toBeGreaterThan(0);
  });

  // What the answers get is seen in test/mailbox/providers.test.ts, by a server that gives them.
  test('tells of what its providers have been seen to refuse, with the code of it', async () => {
    const own = await providers(guide);
    const seen = REFUSALS.filter(({ provider }) => own.has(provider));
    const rows = seen.map(({ at, answer, code }) => [at, answer, code]);
    for (const row of refusals(guide)) expect(rows).toContainEqual(row);
    for (const { provider, at, answer, code } of seen)
      if (provider !== null) expect(refusals(guide)).toContainEqual([at, answer, code]);
  });

  test('says that nobody tried it, and where to look', () => {
    expect(read(guide)).toContain('Not tried with a real account');
    const [, sources = ''] = read(guide).split('\n## Sources\n');
    expect(sources).toMatch(/\]\(https:\/\//);
    expect(index).toContain(`](${guide})`);
  });
});

test('each provider has a guide', async () => {
  const told = await Promise.all(guides.map(providers));
  expect(PROVIDER_NAMES.filter((name) => !told.some((own) => own.has(name)))).toEqual([]);
});
