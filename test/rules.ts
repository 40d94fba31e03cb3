/** Rules for tests, each with what it asks. */
import type { Rule } from '../src/filter.ts';

export const rule = (name: string, conditions: Partial<Rule>): Rule => ({
  name,
  sender: null,
  recipient: null,
  subject: null,
  headers: [],
  largerThan: null,
  smallerThan: null,
  olderThan: null,
  youngerThan: null,
  list: null,
  automatic: null,
  attachment: null,
  ...conditions,
});
