/** What a command gets of the process it runs in. */
import type { Terminal } from '../terminal.ts';

export interface Invocation extends Terminal {
  /** `--config`, else `$MAILWATCHD_CONFIG`, else the default place. */
  configFile: string;
  environment: NodeJS.ProcessEnv;
  version: string;
}
