/** Numbers and times as an operator reads them. */

/** `49.8 %`, or a dash where there is no number. */
export function percent(value: number | null | undefined): string {
  return value === null || value === undefined ? '–' : `${value.toFixed(1)} %`;
}

/** The trimmed form for what people typed: `30 %`, `12.5 %`. */
export function ratio(value: number): string {
  return `${Number(value.toFixed(2))} %`;
}

/** `3 s`, `12 min`, `5 h`, `4 d`. */
export function duration(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });
const full = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'medium' });

export function clockTime(ms: number): string {
  return clock.format(ms);
}

export function fullTime(ms: number | null): string {
  return ms === null ? '–' : full.format(ms);
}

/** `1 node`, `2 nodes`. */
export function count(n: number, one: string, many = `${one}s`): string {
  return `${n} ${n === 1 ? one : many}`;
}

/** Bit/s with a unit. */
export function bitRate(bps: number | null): string {
  if (bps === null) return '–';
  if (bps >= 1e6) return `${(bps / 1e6).toFixed(1)} Mbit/s`;
  return `${(bps / 1e3).toFixed(1)} kbit/s`;
}

/** `1.2 (8.0) ms`: the mean of what packets waited and what 99 % waited at most, both µs. */
export function waited(mean: number | null, p99: number | null): string {
  if (mean === null) return '–';
  const ms = (us: number) => (us / 1000).toFixed(1);
  return p99 === null ? `${ms(mean)} ms` : `${ms(mean)} (${ms(p99)}) ms`;
}
