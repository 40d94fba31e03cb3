/** What is recorded: every way of the handoff, from the first start on. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { publishedFiles } from '../../servers/published.ts';
import { seededRandom } from '../../servers/random.ts';
import { until } from '../../servers/until.ts';
import { ACCOUNT, deliver, HIGH_LIMIT, idOf, LOW_LIMIT, makeMessages, type Setting } from './mailbox.ts';
import { command, live, type Recording, record, type Stage } from './recording.ts';

const LOW: Setting = { start: 'all', after: { delete: false }, messageBytes: LOW_LIMIT };
const HIGH: Setting = { ...LOW, messageBytes: HIGH_LIMIT };
const DELETING: Setting = { ...HIGH, start: 'new', after: { delete: true } };

const published = (stage: Stage, count: number) =>
  until(`${count} documents`, () => publishedFiles(stage.place.storage).length === count);

const quarantined = (stage: Stage, uid: number) =>
  existsSync(join(stage.place.storage, '.quarantine', ACCOUNT, `${idOf(uid)}.error`));

/** A first start with mail, quarantine among it, then mail in IDLE, a stop, a second copy, and a higher limit. */
export function catchUp(seed: number): Promise<Recording> {
  const messages = makeMessages(seededRandom(seed));
  return record('catch-up', messages, async (stage) => {
    const [last, ...first] = messages.toReversed();
    for (const message of first.toReversed()) deliver(stage.server, message);
    await live(stage, LOW, async () => {
      await published(stage, 3);
      await until('the quarantine', () => quarantined(stage, 3));
      await stage.server.idle();
      deliver(stage.server, last!);
      await published(stage, 4);
    });
    await command(stage, LOW, ['replay', '--again', idOf(2)]);
    await live(stage, HIGH, async () => {
      await published(stage, 6);
      await until('the quarantine to be empty', () => !quarantined(stage, 3));
    });
  });
}

/** Mail that comes one by one, is deleted on the server, and taken by a consumer that tidies up. */
export function hasty(seed: number): Promise<Recording> {
  const messages = makeMessages(seededRandom(seed));
  return record('hasty', messages, async (stage) => {
    const { server, place } = stage;
    const handled = () =>
      until('all to be taken', () => {
        return (
          server.folders.get('INBOX')!.messages.length === 0 && publishedFiles(place.storage).length === 0
        );
      });
    await live(
      stage,
      DELETING,
      async () => {
        await server.idle();
        deliver(server, messages[0]!);
        await handled();
        await server.idle();
        for (const message of messages.slice(1)) deliver(server, message);
        await handled();
      },
      'hasty',
    );
  });
}
