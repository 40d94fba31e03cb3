/** `check` and `plan` look at all folders of an account on one connection. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { check } from '../../src/commands/check.ts';
import type { Invocation } from '../../src/commands/invocation.ts';
import { plan } from '../../src/commands/plan.ts';
import { temporaryDirectory } from '../config/temporary.ts';
import { mail, PASSWORD } from '../mailbox/harness.ts';
import { type ScriptedServer, startScriptedServer } from '../servers/scripted.ts';

const FOLDERS = ['INBOX', 'Invoices', 'Absent', 'Orders', 'Spam'];

const commands: [string, (invocation: Invocation) => Promise<number>][] = [
  ['check', (invocation) => check(invocation, { offline: false })],
  ['plan', plan],
];

async function startServer(): Promise<ScriptedServer> {
  const server = await startScriptedServer();
  for (const folder of FOLDERS.filter((name) => name !== 'INBOX' && name !== 'Absent'))
    server.createFolder(folder);
  for (const folder of server.folders.keys()) server.deliver(folder, mail('one'));
  return server;
}

/** What the command prints of each folder. Both fail: one folder is missing. */
async function look(
  server: ScriptedServer,
  command: (invocation: Invocation) => Promise<number>,
  password = PASSWORD,
): Promise<string[]> {
  const directory = temporaryDirectory();
  const account = {
    ...{ name: 'support', host: '127.0.0.1', port: server.port, security: 'none', user: 'ann@example.org' },
    ...{ password: { env: 'PASSWORD' }, folders: FOLDERS, start: 'all' },
  };
  const configFile = join(directory, 'mailwatchd.yaml');
  const config = {
    accounts: [account],
    storage: { directory: join(directory, 'storage') },
    state: { directory: join(directory, 'state') },
  };
  writeFileSync(configFile, JSON.stringify(config), { mode: 0o600 });
  let said = '';
  const output = { isTTY: false, write: (text: string) => (said += text) };
  const invocation = {
    configFile,
    environment: { PASSWORD: password },
    version: '0',
    stdout: output,
    stderr: output,
  };
  await expect(command(invocation as unknown as Invocation)).rejects.toMatchObject({ code: 'CHECK_FAILED' });
  return said.split('\n').filter((line) => line.startsWith('support/'));
}

const logins = ({ commands }: ScriptedServer) => commands.filter((line) => line.startsWith('LOGIN')).length;

test.each(commands)('%s logs in once, and out', async (_, command) => {
  await using server = await startServer();
  const lines = await look(server, command);
  expect(lines.map((line) => line.split(/\s+/)[0])).toEqual(FOLDERS.map((folder) => `support/${folder}`));
  expect(lines.filter((line) => line.includes('FOLDER_MISSING'))).toEqual([lines[2]]);
  expect(logins(server)).toBe(1);
  expect(server.commands.at(-1)).toBe('LOGOUT');
});

test.each(
  commands,
)('%s goes on with another connection where a folder ended the one before', async (_, command) => {
  await using server = await startServer();
  server.script = ({ name, rest, session }) => {
    if (name !== 'EXAMINE' || !rest.includes('Invoices')) return false;
    session.end();
    return true;
  };
  const lines = await look(server, command);
  expect(lines.map((line) => /[A-Z]+_[A-Z]+/.exec(line)?.[0])).toEqual([
    undefined,
    'CONNECTION_LOST',
    'FOLDER_MISSING',
    undefined,
    undefined,
  ]);
  expect(logins(server)).toBe(2);
});

test.each(commands)('%s tries a wrong password once', async (_, command) => {
  await using server = await startServer();
  const lines = await look(server, command, 'wrong');
  expect(lines.filter((line) => line.includes('AUTH_FAILED'))).toHaveLength(FOLDERS.length);
  expect(logins(server)).toBe(1);
});
