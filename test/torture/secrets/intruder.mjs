/** Takes a parser process over: for a message with a field X-Intruder it tries what no parser may, and writes what came of it. */
import childProcess from 'node:child_process';
import fs from 'node:fs';
import module from 'node:module';
import v8 from 'node:v8';
import { Worker } from 'node:worker_threads';
import { openParserEnd } from '../../../src/message/parser-channel.ts';
import { prepareParser } from '../../../src/message/parser-work.ts';

/** Each gives what it got, or throws. `place` is the workplace's directory; what lies there is not the parser's. */
const attempts = {
  'read the configuration': ({ place }) => fs.readFileSync(`${place}/mailwatchd.yaml`),
  'read a secret': ({ place }) => fs.readFileSync(`${place}/secret`),
  'read the rest of the package': ({ program }) => fs.readFileSync(`${program}/mailwatchd.yaml`),
  'read it on a way that leads upwards': ({ inside }) => fs.readFileSync(`${inside}/../../../secret`),
  'read it by bytes': ({ place }) => fs.readFileSync(Buffer.from(`${place}/secret`)),
  'read it as a blob': async ({ place }) => (await fs.openAsBlob(`${place}/secret`)).text(),
  'read it as a module': ({ place }) => module.createRequire('/')(`${place}/secret.json`),
  'read it as JSON': ({ place }) => import(`${place}/secret.json`, { with: { type: 'json' } }),
  'read it as an environment': ({ place }) => process.loadEnvFile(`${place}/secret`),
  'list a directory': ({ place }) => fs.readdirSync(place),
  'open a directory': ({ place }) => fs.opendirSync(place),
  'stat a file': ({ place }) => fs.statSync(`${place}/secret`),
  'watch a directory': ({ place }) => fs.watch(place).close(),
  "read the system's users": () => fs.readFileSync('/etc/passwd'),
  "read the daemon's environment": () => fs.readFileSync(`/proc/${process.ppid}/environ`),
  "read the daemon's memory": () => fs.openSync(`/proc/${process.ppid}/mem`, 'r'),
  "list the daemon's files": () => fs.readdirSync(`/proc/${process.ppid}/fd`),
  "open the daemon's files": () => fs.openSync(`/proc/${process.ppid}/fd/3`, 'r'),
  'read its own environment': () => fs.readFileSync('/proc/self/environ'),
  'read the ledger': ({ place }) => fs.readFileSync(`${place}/state/ledger.db`),
  'open the ledger': ({ place }) => new (sqlite().DatabaseSync)(`${place}/state/ledger.db`),
  'make a database': ({ place }) =>
    new (sqlite().DatabaseSync)(`${place}/made.db`).exec('CREATE TABLE t (a)'),
  'attach the ledger': ({ place }) =>
    new (sqlite().DatabaseSync)(':memory:').exec(`ATTACH '${place}/state/ledger.db' AS l`),
  'write a file': ({ place }) => fs.writeFileSync(`${place}/written`, 'x'),
  'write a document': ({ place }) => fs.writeFileSync(`${place}/storage/a/forged.json`, '{}'),
  'write the program': ({ program }) => fs.appendFileSync(`${program}/dist/main.js`, '//'),
  'make a directory': ({ place }) => fs.mkdirSync(`${place}/made`),
  'make a temporary directory': ({ place }) => fs.mkdtempSync(`${place}/made-`),
  'change a mode': ({ place }) => fs.chmodSync(`${place}/secret`, 0o777),
  'change a time': ({ place }) => fs.lutimesSync(`${place}/secret`, 1, 1),
  'change an owner': ({ place }) => fs.lchownSync(`${place}/secret`, 0, 0),
  'make a symbolic link': ({ inside, place }) => fs.symlinkSync(`${place}/secret`, `${inside}/link`),
  'make a link': ({ inside, place }) => fs.linkSync(`${place}/secret`, `${inside}/second`),
  'copy a file in': ({ inside, place }) => fs.cpSync(`${place}/secret`, `${inside}/copied`),
  'move a file out': ({ inside, place }) => {
    fs.writeFileSync(`${inside}/out`, 'x');
    fs.renameSync(`${inside}/out`, `${place}/moved`);
  },
  'write a heap snapshot': ({ place }) => v8.writeHeapSnapshot(`${place}/heap`),
  'write a report': ({ place }) => {
    process.report.directory = place;
    process.report.writeReport('report');
  },
  'write a trace': async () =>
    (await import('node:trace_events')).createTracing({ categories: ['node'] }).enable(),
  'write a compile cache': ({ place }) => {
    const { status } = module.enableCompileCache(`${place}/cache`);
    fs.readdirSync(`${place}/cache`);
    return status;
  },
  'change directory': () => process.chdir('/tmp'),
  'start a process': () => demand(childProcess.spawnSync('/bin/true')),
  fork: ({ program }) => childProcess.fork(`${program}/dist/main.js`),
  'start a process by its binding': () =>
    process.binding('spawn_sync').spawn({ file: '/bin/true', args: [] }),
  'open a file by its binding': ({ place }) => process.binding('fs').open(`${place}/secret`, 0, 0),
  'start a thread': () => new Worker('', { eval: true }),
  'start a thread by a loader': () => module.register('data:text/javascript,'),
  'load native code': ({ place }) => process.dlopen({ exports: {} }, `${place}/addon.node`),
  'load an engine': async ({ place }) => (await import('node:crypto')).setEngine(`${place}/engine.so`),
  'start WASI': async () =>
    new (await import('node:wasi')).WASI({ version: 'preview1', preopens: { '/': '/' } }),
  'open its own debugger': async () => (await import('node:inspector')).open(0),
  'truncate a file': ({ place }) => fs.truncateSync(`${place}/secret`),
  'move a file in': ({ inside, place }) => fs.renameSync(`${place}/secret`, `${inside}/moved`),
  'remove a file': ({ place }) => fs.unlinkSync(`${place}/secret.json`),
  'open a session of its debugger': async () => new (await import('node:inspector')).Session().connect(),
};

/** What a parser may: the attempts themselves must be able to succeed. */
const allowed = {
  'write and read in staging': ({ inside }) => {
    fs.writeFileSync(`${inside}/probe`, 'x');
    fs.readFileSync(`${inside}/probe`);
    fs.unlinkSync(`${inside}/probe`);
  },
  'read the program': ({ program }) => fs.readFileSync(`${program}/dist/main.js`),
};

function sqlite() {
  const found = process.getBuiltinModule('node:sqlite');
  if (found === undefined) throw Object.assign(new Error('there is none'), { code: 'ERR_NO_SQLITE' });
  return found;
}

function demand({ error }) {
  if (error) throw error;
}

/** Texts of files that it was given open, by the number of the descriptor. */
function inherited() {
  const texts = {};
  for (let fd = 3; fd < 256; fd++) {
    try {
      if (!fs.fstatSync(fd).isFile()) continue;
      const buffer = Buffer.alloc(1000);
      texts[fd] = buffer.toString('latin1', 0, fs.readSync(fd, buffer, 0, 1000, 0));
    } catch (error) {
      if (error.code !== 'EBADF') texts[fd] = error.code;
    }
  }
  return texts;
}

async function intrude(orders) {
  const outcome = async (attempt) => {
    try {
      await attempt(orders);
      return 'allowed';
    } catch (error) {
      return String(error.code ?? error.message);
    }
  };
  const result = { environment: Object.keys(process.env), inherited: inherited(), denied: {}, allowed: {} };
  for (const [name, attempt] of Object.entries(attempts)) result.denied[name] = await outcome(attempt);
  for (const [name, attempt] of Object.entries(allowed)) result.allowed[name] = await outcome(attempt);
  // Node's debugger in the daemon would be a way to its passwords.
  process.kill(process.ppid, 'SIGUSR1');
  fs.writeFileSync(`${orders.inside}/outcome.new`, JSON.stringify(result));
  fs.renameSync(`${orders.inside}/outcome.new`, `${orders.inside}/outcome`);
}

/** What leaves a file in `traces`, or ends the process: another program in its place, and V8 itself. */
function trace({ place }) {
  try {
    process.execve('/usr/bin/touch', ['touch', `${place}/traces/executed`]);
  } catch {
    // As it should be.
  }
  v8.setFlagsFromString('--trace-turbo');
  v8.setFlagsFromString(`--trace-turbo-path=${place}/traces`);
  const square = (count) => {
    let sum = 0;
    for (let n = 0; n < count; n++) sum += n * n;
    return sum;
  };
  for (let times = 0; times < 3000; times++) square(5000);
}

async function serve() {
  const work = prepareParser();
  const channel = openParserEnd();
  channel.post({ kind: 'ready' });
  for (let request = channel.receive(); request !== null; request = channel.receive()) {
    const { number, job } = request;
    channel.post({ kind: 'started', number });
    channel.flush();
    const text = Buffer.from(job.source).toString('latin1');
    const [, kind, orders] = /^X-Intruder: (\w+) (.*)$/m.exec(text) ?? [];
    if (kind === 'trace') trace(JSON.parse(orders));
    if (kind === 'all') await intrude({ ...JSON.parse(orders), inside: job.target.directory });
    const reply = work(request);
    if (kind === 'forge') Object.assign(reply.result, JSON.parse(orders));
    channel.post(reply);
  }
}

serve();
