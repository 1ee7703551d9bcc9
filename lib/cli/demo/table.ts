import { formatBytes, formatPerplexity, formatShare } from '../output/format';
import type { Measurement } from './measure';

const HEAD = ['', 'weights', 'perplexity', 'against 16-bit', 'through int8'];
const COLUMNS = [28, 9, 11, 15, 13];
const WIDTHS_HEAD = ['', 'bits per weight', 'weights', 'perplexity', 'against 16-bit'];
const WIDTHS_COLUMNS = [38, 16, 9, 11, 15];

function line(cells: readonly string[], columns = COLUMNS): string {
  const padded = cells.map((cell, i) => {
    const width = columns[i] as number;
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

/** The head of the table of widths. */
export function widthsHead(): string {
  return line(WIDTHS_HEAD, WIDTHS_COLUMNS);
}

/** @param reference the 16-bit row of the same model, where there is one */
export function widthsRow(name: string, row: Measurement, reference?: Measurement): string {
  const cells = [
    `  ${name}`,
    row.bitsPerWeight.toFixed(2),
    formatBytes(row.weightBytes),
    formatPerplexity(row.perplexity),
    reference && row !== reference ? lossOf(row, reference) : '',
  ];
  return line(cells, WIDTHS_COLUMNS);
}

/** How much worse than 16-bit a perplexity is, e.g. `+0.33%`. */
export function lossOf(row: Measurement, reference: Measurement): string {
  const loss = row.perplexity / reference.perplexity - 1;
  return `${loss < 0 ? '' : '+'}${formatShare(loss, Math.abs(loss) < 0.1 ? 2 : 0)}`;
}
