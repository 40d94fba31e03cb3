/** A real browser without a window: Debian's Chromium. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium, type Page } from 'playwright-core';
import type { MonitPage } from './monit-page.ts';

const PROGRAM = '/usr/bin/chromium';

/** Root has no sandbox; and nothing here is to speak with anyone but the page. */
const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

export interface Tab extends AsyncDisposable {
  page: Page;
  /** Keeps what is shown as a PNG, where `MAILWATCHD_SCREENSHOTS` names a directory for it. */
  screenshot(name: string): Promise<void>;
}

/** Opens Monit's front page, logged in. */
export async function openTab({ url, user, password }: MonitPage): Promise<Tab> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: apt-get install chromium`);
  const browser = await chromium.launch({ executablePath: PROGRAM, args: FLAGS });
  const page = await browser.newPage({
    httpCredentials: { username: user, password },
    viewport: { width: 1200, height: 800 },
  });
  await page.goto(url);
  return {
    page,
    async screenshot(name) {
      const directory = process.env.MAILWATCHD_SCREENSHOTS;
      if (directory) await page.screenshot({ path: join(directory, `${name}.png`), fullPage: true });
    },
    [Symbol.asyncDispose]: () => browser.close(),
  };
}
