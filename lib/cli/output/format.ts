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
