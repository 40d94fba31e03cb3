/** Every attack, what is worst first. */
import type { Attack } from './attack.ts';
import { crash } from './crash/crash.ts';
import { failingCalls } from './failing-calls/failing-calls.ts';
import { hostileMail } from './hostile-mail/hostile-mail.ts';
import { hostileServer } from './hostile-server/hostile-server.ts';
import { powerLoss } from './power-loss/power-loss.ts';
import { secrets } from './secrets/secrets.ts';
import { soak } from './soak/soak.ts';

export const ATTACKS: Attack[] = [crash, failingCalls, powerLoss, hostileServer, hostileMail, secrets, soak];
