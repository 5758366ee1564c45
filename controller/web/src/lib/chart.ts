/**
 * The chart of one slice in one contention domain: airtime owed and measured, violations shaded, corrections ticked,
 * stretches without the global scheduler marked along the top.
 */

import uPlot from 'uplot';
import { clockTime } from './format';
import type { Columns, Span } from './timeline';

export interface Colours {
  text: string;
  grid: string;
  owed: string;
  measured: string;
  measuredFill: string;
  violated: string;
  violatedFill: string;
  correction: string;
  off: string;
}

export interface ShareChart {
  show(columns: Columns, windowSeconds: number): void;
  resize(width: number, height: number): void;
  destroy(): void;
}

const STEPS = [5, 10, 20, 30, 40, 50, 60, 80, 100, 125, 150, 200, 300, 500, 1000];
const FONT = '11px system-ui, sans-serif';

/** Reads the theme's colours from the custom properties in force at an element. */
export function coloursAt(element: Element): Colours {
  const style = getComputedStyle(element);
  const get = (name: string) => style.getPropertyValue(name).trim();
  return {
    text: get('--muted'),
    grid: get('--chart-grid'),
    owed: get('--chart-owed'),
    measured: get('--chart-measured'),
    measuredFill: get('--chart-measured-fill'),
    violated: get('--bad'),
    violatedFill: get('--chart-violated-fill'),
    correction: get('--chart-correction'),
    off: get('--chart-off'),
  };
}

/** `onHover` gets the index of the point under the cursor, null when it has left. */
export function shareChart(
  target: HTMLElement,
  size: { width: number; height: number },
  colours: Colours,
  onHover: (index: number | null) => void,
): ShareChart {
  let shown: Columns = {
    x: [],
    owed: [],
    measured: [],
    violated: [],
    schedulerOff: [],
    corrections: [],
    violatedPeriods: 0,
  };
  let window = 300;

  const plot = new uPlot(
    {
      ...size,
      padding: [10, 22, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 }, sync: { key: 'shares' } },
      scales: {
        x: { time: true, range: () => stretch(shown, window) },
        y: { range: () => [0, top(shown)] },
      },
      axes: [
        {
          stroke: colours.text,
          font: FONT,
          size: 26,
          space: 62,
          incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200],
          grid: { show: false },
          ticks: { stroke: colours.grid, size: 4, width: 1 },
          values: (_, ticks) =>
            ticks.map((t) => clockTime(t * 1000).slice(0, ticks.every((s) => s % 60 === 0) ? 5 : 8)),
        },
        {
          stroke: colours.text,
          font: FONT,
          size: 46,
          space: 30,
          grid: { stroke: colours.grid, width: 1 },
          ticks: { show: false },
          values: (_, ticks) => ticks.map((t) => `${t} %`),
        },
      ],
      series: [
        {},
        { stroke: colours.owed, width: 1.5, dash: [5, 4], points: { show: false }, paths: stepped() },
        { stroke: colours.measured, fill: colours.measuredFill, width: 2, points: { show: false } },
      ],
      hooks: {
        drawClear: [(u) => paintSpans(u, shown, colours)],
        draw: [(u) => paintMarks(u, shown, colours)],
        setCursor: [(u) => onHover(u.cursor.left !== undefined && u.cursor.left >= 0 ? (u.cursor.idx ?? null) : null)],
      },
    },
    [[], [], []],
    target,
  );

  return {
    show(columns, windowSeconds) {
      shown = columns;
      window = windowSeconds;
      plot.setData([columns.x, columns.owed, columns.measured]);
    },
    resize: (width, height) => plot.setSize({ width, height }),
    destroy: () => plot.destroy(),
  };
}

/** A share holds for the whole period that ends at its time. */
function stepped(): uPlot.Series.PathBuilder {
  const make = uPlot.paths.stepped;
  if (!make) throw new Error('uPlot was built without stepped paths');
  return make({ align: -1 });
}

/** The time shown: the window, or less as long as there is not enough to fill it. */
function stretch({ x }: Columns, window: number): [number, number] {
  const end = x.at(-1) ?? Date.now() / 1000;
  const known = end - (x[0] ?? end);
  return [end - Math.min(window, Math.max(60, known)), end];
}

function top({ owed, measured }: Columns): number {
  let most = 0;
  for (const column of [owed, measured]) for (const value of column) if (value !== null && value > most) most = value;
  // Close to all of the airtime the scale ends with it.
  const room = most <= 100 ? Math.min(100, most * 1.08) : most * 1.08;
  return STEPS.find((step) => step >= room) ?? 1000;
}

/** Under the lines. */
function paintSpans(u: uPlot, columns: Columns, colours: Colours): void {
  const { ctx, bbox } = u;
  const ratio = uPlot.pxRatio;
  ctx.save();
  clip(u);
  for (const [left, width] of places(u, columns.violated)) {
    ctx.fillStyle = colours.violatedFill;
    ctx.fillRect(left, bbox.top, width, bbox.height);
  }
  for (const [left, width] of places(u, columns.schedulerOff)) {
    ctx.fillStyle = colours.off;
    ctx.fillRect(left, bbox.top, width, 4 * ratio);
  }
  ctx.restore();
}

/** Over the lines, along the bottom. */
function paintMarks(u: uPlot, columns: Columns, colours: Colours): void {
  const { ctx, bbox } = u;
  const ratio = uPlot.pxRatio;
  const bottom = bbox.top + bbox.height;
  ctx.save();
  clip(u);
  ctx.fillStyle = colours.violated;
  for (const [left, width] of places(u, columns.violated)) ctx.fillRect(left, bottom - 2 * ratio, width, 2 * ratio);
  ctx.fillStyle = colours.correction;
  ctx.strokeStyle = colours.correction;
  const xs = columns.corrections.map(({ at }) => Math.round(u.valToPos(at, 'x', true)));
  const nearest = xs.reduce((least, x, i) => (i === 0 ? least : Math.min(least, x - (xs[i - 1] ?? x))), Infinity);
  // Ticks side by side stay apart, down to a width that can still be seen.
  const half = Math.max(1.5, Math.min(4, nearest / ratio / 2)) * ratio;
  for (const x of xs) {
    ctx.globalAlpha = 0.3;
    ctx.lineWidth = ratio;
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bottom);
    ctx.stroke();
    ctx.globalAlpha = 1;
    ctx.beginPath();
    ctx.moveTo(x, bottom - 11 * ratio);
    ctx.lineTo(x + half, bottom - 3 * ratio);
    ctx.lineTo(x - half, bottom - 3 * ratio);
    ctx.closePath();
    ctx.fill();
  }
  ctx.restore();
}

function clip(u: uPlot): void {
  u.ctx.beginPath();
  u.ctx.rect(u.bbox.left, u.bbox.top, u.bbox.width, u.bbox.height);
  u.ctx.clip();
}

function places(u: uPlot, spans: Span[]): [number, number][] {
  return spans.map(({ from, to }) => {
    const left = u.valToPos(from, 'x', true);
    return [left, Math.max(uPlot.pxRatio, u.valToPos(to, 'x', true) - left)];
  });
}
