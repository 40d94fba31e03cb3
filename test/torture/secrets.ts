/** Attack `secrets`: from inside of a parser, through every way of configuring, and by what servers and mail say. */
import { seededRandom } from '../servers/random.ts';
import type { Attack } from './attack.ts';
import { intrude } from './secrets-sandbox.ts';

export const secrets: Attack = {
  name: 'secrets',
  description: 'passwords in parsers, logs, errors and files; what reaches the terminal',
  async run({ seed }) {
    const random = seededRandom(seed);
    return intrude(`canary-${random.bytes(8).toString('hex')}`);
  },
};
