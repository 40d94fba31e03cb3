/** A progress bar with rate and time left, on a terminal only. */
import { type Options, Presets, SingleBar } from 'cli-progress';
import type { Output } from '../terminal.ts';

export interface Progress {
  /** `total` may grow while the work goes on. */
  update(done: number, total: number): void;
  stop(): void;
}

/** Shown on `output` where that is a terminal, else silent. `unit` names what is counted. */
export function startProgress(output: Output, unit: string): Progress {
  if (!output.isTTY) return { update: () => undefined, stop: () => undefined };
  const options: Options = {
    format: `{bar} {value}/{total} ${unit} · {speed}/s · {left} left`,
    stream: output as NodeJS.WriteStream,
    clearOnComplete: false,
    hideCursor: true,
    // With its words beside it the line fits 80 columns.
    barsize: 24,
  };
  const bar = new SingleBar(options, Presets.shades_classic);
  /** When the first was done, and how many then: connecting is no part of the rate. */
  let first: { at: number; done: number } | null = null;
  bar.start(0, 0, { speed: '0', left: '–' });
  return {
    update(done, total) {
      const now = performance.now();
      if (done > 0) first ??= { at: now, done };
      const perSecond =
        first === null || now === first.at ? 0 : ((done - first.done) * 1000) / (now - first.at);
      bar.setTotal(total);
      bar.update(done, {
        speed: perSecond.toFixed(0),
        left: perSecond > 0 ? formatSeconds((total - done) / perSecond) : '–',
      });
    },
    stop: () => bar.stop(),
  };
}

function formatSeconds(seconds: number): string {
  const whole = Math.max(0, Math.ceil(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}
