/** Proves: a file system is synced where the kernel can be trusted with it, and one that was replaced is noticed. */
import {
  closeSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  statfsSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { openFileSystem } from '../../src/spool/file-system.ts';
import { codeOf } from './rig.ts';

/** Of ext4, XFS and btrfs. */
const TRUSTED = [0xef53, 0x58465342, 0x9123683e];

function makeDirectory(): string {
  const root = mkdtempSync(join(tmpdir(), 'mailwatchd-file-system-'));
  onTestFinished(() => rmSync(root, { recursive: true }));
  mkdirSync(join(root, 'storage'));
  return join(root, 'storage');
}

test('a file system that does not tell what it could not write is not trusted', () => {
  expect(openFileSystem('/proc')).toBeNull();
  expect(codeOf(() => openFileSystem('/nowhere'))).toBe('ENOENT');
});

test.runIf(TRUSTED.includes(statfsSync(tmpdir()).type))(
  'what has taken the place of the directory is synced from the next time on',
  () => {
    const directory = makeDirectory();
    const fileSystem = openFileSystem(directory);
    fileSystem?.sync();
    renameSync(directory, `${directory}.away`);
    expect(codeOf(() => fileSystem?.sync())).toBe('ENOENT');
    mkdirSync(directory);
    expect(codeOf(() => fileSystem?.sync())).toBe('STORAGE_MISSING');
    expect(codeOf(() => fileSystem?.sync())).toBe('nothing thrown');
  },
);

test.runIf(TRUSTED.includes(statfsSync(tmpdir()).type))(
  'where what took the place cannot be opened, nobody else loses a descriptor',
  () => {
    const directory = makeDirectory();
    const fileSystem = openFileSystem(directory);
    renameSync(directory, `${directory}.away`);
    writeFileSync(directory, 'a file');
    expect(codeOf(() => fileSystem?.sync())).toBe('ENOTDIR');
    const other = openSync(directory, 'r');
    expect(codeOf(() => fileSystem?.sync())).toBe('ENOTDIR');
    expect(fstatSync(other).isFile()).toBe(true);
    closeSync(other);
  },
);
