import type { FeatureOutliers } from '../../eval/outlier-statistics';
import { analyzeOutliers, type OutlierReport } from '../../eval/outliers';
import type { Context } from '../context';
import { loadModel } from '../open-model';
import type { ModelOptions } from '../options/model-options';
import { formatCount, formatPerplexity, formatShare, formatTable } from '../output/format';
import type { TextSourceOptions } from '../text-source';
import { openWindows } from '../windowed-text';

export interface OutlierCommandOptions extends ModelOptions, TextSourceOptions {
  threshold?: number;
  window?: number;
  limit?: number;
  draws?: number;
  seed?: number;
}

/** Enough for shares of a few percent, and quick. */
const DEFAULT_LIMIT = 8;
/** Features shown that are no outlier features. */
const MOST_OTHERS = 5;

/** Finds and prints the outlier features of a model. */
export async function printOutliers(
  name: string,
  options: OutlierCommandOptions,
  context: Context,
): Promise<void> {
  const { output, signal } = context;
  const { folder, ids, window, maxContext } = await openWindows(name, options, context);
  await using model = await loadModel(folder, options, context, {
    maxContext,
  });
  const { threshold, limit = DEFAULT_LIMIT, draws, seed } = options;
  const report = await analyzeOutliers(model, ids, {
    threshold,
    window,
    limit,
    draws,
    seed,
    signal,
    onProgress: ({ done, total }) =>
      output.progress.update('outliers', done, total, `pass over window ${done + 1} of ${total}`),
  });
  output.result({ model: name, device: model.device.name, window, ...report });
  output.line(describe(name, report));
}

function describe(name: string, report: OutlierReport): string {
  const { features, others, layers, threshold, tokens, hiddenSize, numLayers } = report;
  const found = features.length === 0 ? 'no outlier feature' : count(features, 'outlier feature');
  const lines = [
    `${name}: ${found} among ${hiddenSize}, on ${formatCount(tokens)} tokens`,
    `  a feature is an outlier where |value| >= ${threshold} in >= 25% of the layers and >= 6% of ` +
      'the hidden states',
    `  ${formatShare(report.ordinaryShare, 2)} of all values are below ${threshold}`,
  ];
  const shown = [...features, ...others.slice(0, MOST_OTHERS)];
  if (shown.length > 0) lines.push('', featureTable(shown, features.length, numLayers));
  const rows = layers.map((layer) => [
    `  ${layer.layer}`,
    String(layer.features.filter((f) => features.some(({ feature }) => feature === f)).length),
    String(layer.features.length),
    formatShare(layer.positionShare),
    layer.extreme.toFixed(1),
  ]);
  const head = ['  layer', 'outlier features', 'any features', 'positions', 'extreme'];
  lines.push('', formatTable([head, ...rows], [1, 2, 3, 4]), '', effect(report));
  return lines.join('\n');
}

function featureTable(shown: readonly FeatureOutliers[], outliers: number, all: number): string {
  const head = ['  feature', 'outlier', 'layers', 'states', 'sides', 'quartiles', 'extreme'];
  const rows = shown.map((feature, i) => [
    `  ${feature.feature}`,
    i < outliers ? 'yes' : 'no',
    `${feature.layers.length} of ${all}`,
    formatShare(feature.positionShare),
    feature.sides,
    feature.quartiles.map((value) => value.toFixed(1)).join(', '),
    feature.extreme.toFixed(1),
  ]);
  return formatTable([head, ...rows], [2, 3, 5, 6]);
}

function effect({ features, perplexity }: OutlierReport): string {
  const { baseline, zeroed, random, draws } = perplexity;
  const line = (what: string, value: number): string[] => [
    `  ${what}`,
    formatPerplexity(value),
    value === baseline ? '' : `${((value / baseline - 1) * 100).toFixed(1)}% more`,
  ];
  const rows = [line('as it is', baseline)];
  if (zeroed !== undefined) rows.push(line(`${count(features, 'outlier feature')} zeroed`, zeroed));
  if (random !== undefined && draws) {
    rows.push(line(`${count(features, 'random feature')} zeroed, mean of ${draws.length}`, random));
  }
  return `perplexity\n${formatTable(rows, [1, 2])}`;
}

function count(features: readonly unknown[], what: string): string {
  return `${features.length} ${what}${features.length === 1 ? '' : 's'}`;
}
