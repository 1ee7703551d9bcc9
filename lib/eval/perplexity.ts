import { OptionsError } from '../errors';
import type { CausalLanguageModel } from '../pretrained/model';
import { MeanNll } from './mean-nll';
import { DEFAULT_WINDOW, splitWindows, type WindowOptions } from './windows';

/** How far an evaluation is, with the perplexity so far. */
export interface PerplexityProgress {
  windows: number;
  totalWindows: number;
  perplexity: number;
}

export interface PerplexityOptions extends WindowOptions {
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: PerplexityProgress) => void) | undefined;
}

export interface PerplexityResult {
  perplexity: number;
  /** Ids that were read. */
  tokens: number;
  /** Ids that were predicted: all but the first of each window. */
  predictions: number;
  windows: number;
  seconds: number;
}

/** Ids given to the engine at a time: a few of its chunks, so that progress and aborts come soon. */
const IDS_AT_A_TIME = 1024;

/**
 * Perplexity on token ids: exp of the mean negative log-likelihood of the ids 1 .. n-1 of each
 * window of n, given those before them in the same window.
 * @throws OptionsError for wrong options or ids, FewbitError `ERR_FEWBIT_NAN`, or `signal.reason`
 */
export async function perplexity(
  { engine }: Pick<CausalLanguageModel, 'engine'>,
  ids: ArrayLike<number>,
  options: PerplexityOptions = {},
): Promise<PerplexityResult> {
  const { window = DEFAULT_WINDOW, limit, signal, onProgress } = options;
  const { maxContext } = engine.sizes;
  if (window > maxContext) {
    throw new OptionsError(
      `window is ${window}, but the context is limited to ${maxContext}: choose a smaller window`,
    );
  }
  const windows = splitWindows(ids, { window, limit });
  const atATime = Math.max(1, Math.floor(IDS_AT_A_TIME / window));
  const mean = new MeanNll();
  const start = performance.now();
  for (let done = 0; done < windows.length; ) {
    const some = windows.slice(done, done + atATime);
    for (const nll of await engine.nll(some, signal ? { signal } : {})) mean.add(nll);
    done += some.length;
    onProgress?.({ windows: done, totalWindows: windows.length, perplexity: mean.perplexity });
  }
  return {
    perplexity: mean.perplexity,
    tokens: mean.predictions + windows.length,
    predictions: mean.predictions,
    windows: windows.length,
    seconds: (performance.now() - start) / 1000,
  };
}
