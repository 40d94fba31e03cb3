/** Rules for tests, each with what it asks. */
import { NO_CONDITIONS, type Rule } from '../src/filter.ts';

export const rule = (name: string, conditions: Partial<Rule>): Rule => ({
  name,
  ...NO_CONDITIONS,
  ...conditions,
});
