import { calibrationWindows } from '../../calibration';
import type { Checkpoint } from '../../checkpoint/checkpoint';
import { AutoTokenizer } from '../../checkpoint/tokenizer';
import { OptionsError } from '../../errors';
import type { QuantizeOptions } from '../quantize';
import type { Recipe } from './recipe';

/** What a model was calibrated with. */
export interface CalibrationReport {
  /** Name or path of the text; `ids` where windows were given. */
  dataset: string;
  windows: number;
  /** Most ids of a window. */
  seqlen: number;
  tokens: number;
}

const DEFAULT_SAMPLES = 128;
const DEFAULT_SEQLEN = 2048;

export interface Gathered {
  windows: number[][];
  report: CalibrationReport;
}

/** The windows to calibrate with; undefined for recipes that need none. */
export async function gatherWindows(
  checkpoint: Checkpoint,
  { title, calibrates }: Recipe,
  options: QuantizeOptions,
  notice: (message: string) => void,
): Promise<Gathered | undefined> {
  const { dataset, seed = 0, samples = DEFAULT_SAMPLES, signal, onProgress } = options;
  if (!calibrates) return undefined;
  if (dataset === undefined) {
    throw new OptionsError(
      `${title} needs a dataset to calibrate with: a text file, wikitext2, c4, ptb, or windows of ids`,
    );
  }
  const longestContext = checkpoint.config.maxPositionEmbeddings;
  const seqlen = options.seqlen ?? Math.min(DEFAULT_SEQLEN, longestContext);
  checkCounts({ samples, seqlen });
  const tooLong = (length: number): never => {
    throw new OptionsError(
      `windows of ${length} ids (seqlen) are longer than the ${longestContext} positions of the model`,
    );
  };
  if (seqlen > longestContext) tooLong(seqlen);
  const tokenizer = () => AutoTokenizer.fromPretrained(checkpoint.folder);
  const { windows, tokens } = await calibrationWindows(dataset, tokenizer, {
    ...options,
    samples,
    seqlen,
    seed,
    onProgress: (progress) => onProgress?.({ phase: 'download', ...progress }),
  });
  signal?.throwIfAborted();
  const most = longest(windows);
  if (most > longestContext) tooLong(most);
  const name = typeof dataset === 'string' ? dataset : 'ids';
  if (typeof dataset === 'string' && tokens < samples * seqlen) {
    notice(
      `${name} gives only ${tokens} tokens in ${windows.length} windows, fewer than the ${samples} x ` +
        `${seqlen} asked for: all of them are used; more text makes a better model`,
    );
  }
  return { windows, report: { dataset: name, windows: windows.length, seqlen: most, tokens } };
}

function checkCounts(counts: Record<string, number>): void {
  for (const [name, value] of Object.entries(counts)) {
    if (Number.isSafeInteger(value) && value >= (name === 'seqlen' ? 2 : 1)) continue;
    throw new OptionsError(
      `${name} must be a whole number above 0 (seqlen: above 1), got ${value}`,
    );
  }
}

/** Ids of the longest window. */
export function longest(windows: readonly (readonly number[])[]): number {
  return windows.reduce((most, { length }) => Math.max(most, length), 0);
}
