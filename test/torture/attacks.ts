/** Every attack, what is worst first. */
import type { Attack } from './attack.ts';
import { crash } from './crash.ts';

export const ATTACKS: Attack[] = [crash];
