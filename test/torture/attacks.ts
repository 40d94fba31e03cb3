/** Every attack, what is worst first. */
import type { Attack } from './attack.ts';
import { crash } from './crash.ts';
import { failingCalls } from './failing-calls.ts';
import { hostileMail } from './hostile-mail.ts';
import { hostileServer } from './hostile-server.ts';
import { powerLoss } from './power-loss.ts';
import { secrets } from './secrets.ts';
import { soak } from './soak.ts';

export const ATTACKS: Attack[] = [crash, failingCalls, powerLoss, hostileServer, hostileMail, secrets, soak];
