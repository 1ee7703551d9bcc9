/** A size in decimal units, e.g. `8.9 MB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit++;
  }
  return `${value.toFixed(unit > 0 && value < 99.5 ? 1 : 0)} ${units[unit]}`;
}

/** A count with separators, e.g. `6,738,415,616`. */
export function formatCount(count: number): string {
  return count.toLocaleString('en-US');
}

/** A share as a percentage. */
export function formatShare(share: number, digits = 1): string {
  return `${(100 * share).toFixed(digits)}%`;
}

/** A time in its two largest units, e.g. `1 h 05 min`. */
export function formatDuration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  const two = (value: number): string => String(value).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes} min ${two(whole % 60)} s`;
  return `${Math.floor(minutes / 60)} h ${two(minutes % 60)} min`;
}

/** A perplexity: two digits after the point, fewer when it is large. */
export function formatPerplexity(perplexity: number): string {
  return perplexity < 1000 ? perplexity.toFixed(2) : perplexity.toPrecision(4);
}

/** Columns with two spaces between them; the columns named in `right` are aligned there. */
export function formatTable(rows: readonly (readonly string[])[], right: number[] = []): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  const pad = (cell: string, i: number): string =>
    right.includes(i) ? cell.padStart(widths[i] as number) : cell.padEnd(widths[i] as number);
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}
