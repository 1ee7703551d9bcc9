import { type Command, Option } from 'commander';
import { RPTQ_CONFIG_NAMES, RptqConfig, type RptqOptions } from '../../quant';
import { type CalibrationCommandOptions, given } from './calibration';
import { wholeNumber } from './numbers';

/** The options of `quantize --method rptq` alone. */
export type RptqCommandOptions = Pick<
  RptqOptions,
  | 'config'
  | 'clusters'
  | 'headClusters'
  | 'cacheClusters'
  | 'clusterSizes'
  | 'clusterSeed'
  | 'metric'
  | 'equalize'
  | 'rotate'
  | 'keyFeedback'
>;

export const RPTQ_OPTIONS = [
  ...['config', 'clusters', 'headClusters', 'cacheClusters'],
  ...['clusterSizes', 'clusterSeed', 'metric', 'equalize', 'rotate', 'keyFeedback'],
] as readonly (keyof RptqCommandOptions)[];

export function addRptqOptions(command: Command): Command {
  return command
    .optionsGroup('Options of rptq:')
    .addOption(
      new Option(
        '--config <name>',
        'bits of weights, activations and cache (default: W4A4KV)',
      ).choices(RPTQ_CONFIG_NAMES),
    )
    .option('--clusters <n>', 'of the channels of an activation (default: 32)', wholeNumber(1))
    .option('--head-clusters <n>', 'of what attention makes in a head (default: 4)', wholeNumber(1))
    .option(
      '--cache-clusters <n>',
      "of a head's queries, keys and values (default: every channel is one)",
      wholeNumber(1),
    )
    .addOption(
      new Option(
        '--cluster-sizes <how>',
        'as KMeans finds them, or all the same (default: kmeans)',
      ).choices(['kmeans', 'balanced']),
    )
    .option('--cluster-seed <n>', 'of KMeans (default: 0)', wholeNumber(Number.MIN_SAFE_INTEGER))
    .addOption(
      new Option(
        '--metric <name>',
        'how ranges of activations are found: with the least error, or by a moving average (default: mse)',
      ).choices(['mse', 'ema_minmax']),
    )
    .option(
      '--equalize',
      'norms divide outlier channels, where their outputs stay in 16 bits (default)',
    )
    .option('--no-equalize', 'their gains as they are')
    .option(
      '--rotate',
      'inputs of 4 bits of o_proj and fc2 or down are rotated where that lowers their error (default)',
    )
    .option('--no-rotate', 'inputs as they are')
    .option('--key-feedback', 'keys of few bits are rounded so that errors cancel (default)')
    .option('--no-key-feedback', 'each to its nearest');
}

/** The quantization that the options describe. @throws OptionsError */
export function rptqConfig(options: RptqCommandOptions & CalibrationCommandOptions): RptqConfig {
  const { config, clusters, headClusters, cacheClusters } = options;
  const { clusterSizes, clusterSeed, metric, equalize, rotate, keyFeedback } = options;
  const { groupSize, trueSequential, damp, mse } = options;
  return new RptqConfig(
    given({
      config,
      clusters,
      headClusters,
      cacheClusters,
      clusterSizes,
      clusterSeed,
      metric,
      equalize,
      rotate,
      keyFeedback,
      groupSize,
      trueSequential,
      damp,
      mse,
    }),
  );
}
