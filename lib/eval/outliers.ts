import { OptionsError } from '../errors';
import { scaleColumns } from '../ops';
import type { CausalLanguageModel } from '../pretrained/model';
import { HiddenStateProbe } from './hidden-state-probe';
import { type FeatureOutliers, type LayerOutliers, OutlierStatistics } from './outlier-statistics';
import { drawWithout, randomNumbers } from './random';
import { splitWindows, type WindowOptions } from './windows';

export interface OutlierOptions extends WindowOptions {
  /** Size from which a value is an outlier; default 6. */
  threshold?: number | undefined;
  /** Sets of random features that are zeroed for comparison; default 3. */
  draws?: number | undefined;
  /** Of the random features; default 0. */
  seed?: number | undefined;
  signal?: AbortSignal | undefined;
  /** Windows done, and at most to do. */
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** What zeroing features does to perplexity. */
export interface ZeroedPerplexity {
  /** Of the model as it is. */
  baseline: number;
  /** With the outlier features zeroed; absent when there are none. */
  zeroed?: number;
  /** With as many other features zeroed at random: the mean over the draws, and each of them. */
  random?: number;
  draws?: { features: number[]; perplexity: number }[];
}

export interface OutlierReport {
  threshold: number;
  tokens: number;
  windows: number;
  hiddenSize: number;
  numLayers: number;
  /** Outlier features: in at least 25% of the layers and 6% of the hidden states. */
  features: FeatureOutliers[];
  /** Further features with a value of at least the threshold. */
  others: FeatureOutliers[];
  layers: LayerOutliers[];
  /** Share of all measured values that are below the threshold. */
  ordinaryShare: number;
  perplexity: ZeroedPerplexity;
}

/** The criteria of arXiv 2208.07339, section 4. */
const MIN_LAYER_SHARE = 0.25;
const MIN_POSITION_SHARE = 0.06;

/**
 * Finds the outlier features of a model as the LLM.int8() paper defines them (arXiv 2208.07339,
 * section 4): values of at least 6 in the same hidden feature, in at least 25% of the layers and 6%
 * of the hidden states, measured on the inputs of the attention projections and of the feed-forward
 * expansion. Then zeroes these features in all those inputs, and as many random ones, to see what
 * each does to perplexity.
 *
 * The model runs op by op on the caller's thread; the event loop gets a turn between windows.
 * @throws OptionsError, FewbitError `ERR_FEWBIT_NAN`, or `signal.reason`
 */
export async function analyzeOutliers(
  { transformer }: Pick<CausalLanguageModel, 'transformer'>,
  ids: ArrayLike<number>,
  options: OutlierOptions = {},
): Promise<OutlierReport> {
  const { threshold = 6, draws = 3, seed = 0, signal, onProgress } = options;
  if (!(threshold > 0)) throw new OptionsError(`threshold must be above 0, got ${threshold}`);
  if (!Number.isSafeInteger(draws) || draws < 1) {
    throw new OptionsError(`draws must be a whole number of at least 1, got ${draws}`);
  }
  const windows = splitWindows(ids, options);
  const total = windows.length * (2 + draws);
  let begun = 0;
  using probe = new HiddenStateProbe(transformer, windows, () => {
    signal?.throwIfAborted();
    onProgress?.({ done: begun++, total });
  });
  const { hiddenSize, numHiddenLayers: numLayers } = transformer.config;
  const statistics = new OutlierStatistics({
    layers: numLayers,
    features: hiddenSize,
    threshold,
    seed,
  });
  const baseline = await probe.pass(
    (layer, x) => statistics.observe(layer, x.readFloats()),
    (length) => statistics.endWindow(length),
  );
  const all = statistics.features();
  const features = all.filter(isSystematic);
  const columns = features.map(({ feature }) => feature);
  const effect =
    columns.length > 0 ? await zeroFeatures(transformer, probe, columns, { draws, seed }) : {};
  return {
    threshold,
    tokens: windows.reduce((sum, { length }) => sum + length, 0),
    windows: windows.length,
    hiddenSize,
    numLayers,
    features,
    others: all.filter((feature) => !isSystematic(feature)),
    layers: statistics.layers(),
    ordinaryShare: statistics.ordinaryShare,
    perplexity: { baseline, ...effect },
  };
}

async function zeroFeatures(
  { device, config: { hiddenSize } }: CausalLanguageModel['transformer'],
  probe: HiddenStateProbe,
  outliers: readonly number[],
  { draws, seed }: { draws: number; seed: number },
): Promise<Omit<ZeroedPerplexity, 'baseline'>> {
  const without = async (columns: readonly number[]): Promise<number> => {
    const keep = new Float32Array(hiddenSize).fill(1);
    for (const column of columns) keep[column] = 0;
    using scale = device.from('f32', [hiddenSize], keep);
    return await probe.pass((_, x) => scaleColumns(x, scale));
  };
  const zeroed = await without(outliers);
  const rest = Array.from({ length: hiddenSize }, (_, i) => i).filter((i) => !outliers.includes(i));
  const random = randomNumbers(seed);
  const drawn: { features: number[]; perplexity: number }[] = [];
  for (let draw = 0; draw < draws; draw++) {
    const features = drawWithout(rest, outliers.length, random).sort((a, b) => a - b);
    drawn.push({ features, perplexity: await without(features) });
  }
  const sum = drawn.reduce((total, { perplexity }) => total + perplexity, 0);
  return { zeroed, random: sum / draws, draws: drawn };
}

function isSystematic({ layerShare, positionShare }: FeatureOutliers): boolean {
  return layerShare >= MIN_LAYER_SHARE && positionShare >= MIN_POSITION_SHARE;
}
