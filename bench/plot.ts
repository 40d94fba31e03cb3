/** Pictures of tables, as SVG. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EChartsCoreOption, init } from 'echarts';
import type { Plot, Result } from './bench.ts';

const WIDTH = 800;
const ROW_HEIGHT = 22;
const LINES_HEIGHT = 400;
/** Above the plot for title and legend, below it for the axis. */
const MARGINS = { top: 70, bottom: 50, left: 20, right: 60 };
/** Enough for three digits to be told apart. */
const SIGNIFICANT_DIGITS = 3;

/** Writes a file for each table that has a picture. */
export function draw(results: readonly Result[], directory: string): void {
  mkdirSync(directory, { recursive: true });
  for (const { title, rows, plot } of results) {
    if (plot !== undefined)
      writeFileSync(join(directory, `${plot.name}.svg`), svg(title, plot.rows ?? rows, plot));
  }
}

function svg(title: string, rows: Result['rows'], plot: Plot): string {
  const { kind, values } = plot;
  const height = kind === 'bars' ? rows.length * values.length * ROW_HEIGHT : LINES_HEIGHT;
  const chart = init(null, null, {
    renderer: 'svg',
    ssr: true,
    width: WIDTH,
    height: height + MARGINS.top + MARGINS.bottom,
  });
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, left: 'center', top: 8, textStyle: { fontSize: 15 } },
    ...(values.length > 1 && { legend: { data: values, top: 38, itemGap: 24 } }),
    grid: { ...MARGINS, containLabel: true },
    ...(kind === 'bars' ? bars(rows, plot) : lines(rows, plot)),
  });
  const text = chart.renderToSVGString();
  chart.dispose();
  return text;
}

function bars(rows: Result['rows'], { by, values, unit }: Plot): EChartsCoreOption {
  return {
    xAxis: { type: 'value', name: unit, nameLocation: 'middle', nameGap: 28 },
    // From the top down, as in the table.
    yAxis: { type: 'category', inverse: true, data: rows.map((row) => String(row[by])) },
    series: values.map((name) => ({
      name,
      type: 'bar',
      data: rows.map((row) => row[name]),
      label: { show: true, position: 'right' },
    })),
  };
}

function lines(rows: Result['rows'], { by, values, unit, logarithmic }: Plot): EChartsCoreOption {
  const type = logarithmic ? 'log' : 'value';
  const axisLabel = {
    formatter: (value: number) => Number(value.toPrecision(SIGNIFICANT_DIGITS)).toLocaleString('en'),
  };
  return {
    xAxis: { type, name: by, nameLocation: 'middle', nameGap: 28, axisLabel },
    yAxis: { type, name: unit, axisLabel },
    series: values.map((name) => ({
      name,
      type: 'line',
      showSymbol: rows.length <= 50,
      data: rows.map((row) => [row[by], row[name]]),
    })),
  };
}
