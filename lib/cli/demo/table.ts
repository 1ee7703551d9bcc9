import { formatBytes, formatPerplexity, formatShare } from '../output/format';
import type { Measurement } from './measure';

const HEAD = ['', 'weights', 'perplexity', 'against 16-bit', 'through int8'];
const WIDTHS = [28, 9, 11, 15, 13];

function line(cells: readonly string[]): string {
  const padded = cells.map((cell, i) => {
    const width = WIDTHS[i] as number;
    return i === 0 ? cell.padEnd(width) : cell.padStart(width);
  });
  return padded.join(' ').trimEnd();
}

/** The table's lines have fixed widths, so that each is printed as soon as it is known. */
export function tableHead(): string {
  return line(HEAD);
}

/** @param reference the 16-bit row of the same model */
export function tableRow(name: string, row: Measurement, reference: Measurement): string {
  return line([
    `  ${name}`,
    formatBytes(row.weightBytes),
    formatPerplexity(row.perplexity),
    row === reference ? '' : lossOf(row, reference),
    row.int8Share > 0 ? formatShare(row.int8Share) : '-',
  ]);
}

/** How much worse than 16-bit a perplexity is, e.g. `+0.33%`. */
export function lossOf(row: Measurement, reference: Measurement): string {
  const loss = row.perplexity / reference.perplexity - 1;
  return `${loss < 0 ? '' : '+'}${formatShare(loss, Math.abs(loss) < 0.1 ? 2 : 0)}`;
}
