/** Every attack, what is worst first. */
import type { Attack } from './attack.ts';

export const ATTACKS: Attack[] = [];
