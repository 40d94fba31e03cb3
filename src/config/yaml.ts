/** YAML text to a plain tree, with the place of each key and value; faults never show the text. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseAllDocuments,
  visit,
} from 'yaml';

/** A place in the text, both from 1. */
export interface Place {
  line: number;
  column: number;
}

export interface YamlFault {
  message: string;
  place: Place | null;
}

export type KeyPath = (string | number)[];

export interface ParsedYaml {
  /** Strings, numbers, booleans, null, lists and mappings; null for an empty text. */
  tree: unknown;
  faults: YamlFault[];
  /** Where a value stands; with `key`, where its key does. What is not there has the place of its parent. */
  placeOf(path: KeyPath, part: 'key' | 'value'): Place | null;
}

/** The library's own messages may show the text, so its codes are put into our words. */
const SYNTAX: Readonly<Record<string, string>> = {
  BAD_ALIAS: 'refers to an anchor that is not there (a value that begins with * must be quoted)',
  BAD_DQ_ESCAPE: 'unknown escape sequence in double quotes (use single quotes)',
  BAD_INDENT: 'wrong indentation',
  BAD_SCALAR_START: 'a value that begins with this character must be quoted',
  BLOCK_AS_IMPLICIT_KEY: 'a second colon in a line (quote the value)',
  IMPOSSIBLE: 'this does not belong here',
  MISSING_CHAR: 'something is missing here: a quote, a bracket, a comma or a colon',
  MULTIPLE_DOCS: 'only one document is allowed in the file',
  MULTILINE_IMPLICIT_KEY: 'a line without a colon',
  RESOURCE_EXHAUSTION: 'nested too deeply',
  TAB_AS_INDENT: 'a tab as indentation (use spaces)',
  TAG_RESOLVE_FAILED: 'unknown tag (a value that begins with ! must be quoted)',
  UNEXPECTED_TOKEN: 'this does not belong here',
};

/** Uses of one anchor, in whatever contains it: enough for an account's setting, too few for a bomb. */
const MAX_ALIASES = 1000;
/** One mistake makes the lines after it look wrong as well. */
const MAX_SYNTAX_FAULTS = 10;

/** Parses one document of YAML 1.2. Never throws. */
export function parseYaml(text: string): ParsedYaml {
  const lines = new LineCounter();
  const at = (offset: number | undefined): Place | null => {
    if (offset === undefined) return null;
    const { line, col } = lines.linePos(offset);
    return line === 0 ? null : { line, column: col };
  };
  const failed = (faults: YamlFault[]): ParsedYaml => ({ tree: null, faults, placeOf: () => null });
  try {
    const documents = parseAllDocuments(text, {
      lineCounter: lines,
      prettyErrors: false,
      // Its warnings would go to stderr, with the text.
      logLevel: 'silent',
      schema: 'core',
      resolveKnownTags: false,
      // The library compares each key with each other one; duplicates are looked for below.
      uniqueKeys: false,
    });
    if ('empty' in documents) return { tree: null, faults: [], placeOf: () => null };
    const [document, second] = documents;
    if (document === undefined) return failed([]);
    const faults = [...document.errors, ...document.warnings]
      .slice(0, MAX_SYNTAX_FAULTS)
      .map(({ code, pos }) => ({
        message: `not YAML: ${SYNTAX[code] ?? code.toLowerCase().replaceAll('_', ' ')}`,
        place: at(pos[0]),
      }));
    if (second !== undefined) {
      faults.push({ message: `not YAML: ${SYNTAX.MULTIPLE_DOCS}`, place: at(second.range?.[0]) });
    }
    // Another version reads `no` as false and 0640 as octal.
    if (document.directives?.yaml.explicit && document.directives.yaml.version !== '1.2') {
      faults.push({ message: 'only YAML 1.2 is understood: remove the %YAML line', place: null });
    }
    if (faults.length > 0) return failed(faults);
    const { broken, duplicateKeys } = structureFaults(document);
    if (broken.length > 0) {
      return failed(
        broken.slice(0, MAX_SYNTAX_FAULTS).map(({ message, offset }) => ({ message, place: at(offset) })),
      );
    }
    return {
      tree: document.toJS({ maxAliasCount: MAX_ALIASES }),
      faults: duplicateKeys.map((offset) => ({ message: 'the same key a second time', place: at(offset) })),
      placeOf: (path, part) => at(offsetOf(document, path, part)),
    };
  } catch {
    // Stack overflow of a text nested too deeply; too many aliases, or one inside of what it refers to.
    return failed([
      {
        message: `not YAML: nested too deeply, or an anchor used more than ${MAX_ALIASES} times`,
        place: null,
      },
    ]);
  }
}

/**
 * What the library finds only by throwing, by comparing each key with each other one, or not at all: a
 * mapping as a key, which it would print. As offsets.
 */
function structureFaults(document: Document): {
  broken: { message: string; offset: number }[];
  duplicateKeys: number[];
} {
  const broken: { message: string; offset: number }[] = [];
  const duplicateKeys: number[] = [];
  const anchors = new Set<string>();
  const offset = (node: unknown) => (node as Node | null)?.range?.[0] ?? 0;
  visit(document, {
    Value(_key, node) {
      if (node.anchor !== undefined) anchors.add(node.anchor);
      if (!isMap(node)) return;
      const seen = new Set<string>();
      for (const { key } of node.items) {
        if (!isScalar(key)) {
          broken.push({ message: 'not YAML as it is used here: a key must be a word', offset: offset(key) });
          continue;
        }
        const name = String(key.value);
        if (seen.has(name)) duplicateKeys.push(offset(key));
        seen.add(name);
      }
    },
    Alias(_key, alias) {
      if (!anchors.has(alias.source)) {
        broken.push({ message: `not YAML: ${SYNTAX.BAD_ALIAS}`, offset: offset(alias) });
      }
    },
  });
  return { broken, duplicateKeys };
}

function offsetOf(document: Document, path: KeyPath, part: 'key' | 'value'): number | undefined {
  let node: unknown = document.contents;
  let offset = (node as Node | null)?.range?.[0];
  for (const [depth, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    let key: unknown = null;
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(step));
      key = pair?.key;
      node = pair?.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
    } else {
      return offset;
    }
    const wanted = part === 'key' && depth === path.length - 1 ? key : (node ?? key);
    const start = (wanted as Node | null)?.range?.[0];
    if (start === undefined) return offset;
    offset = start;
  }
  return offset;
}
