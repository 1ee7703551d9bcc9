import type { Command } from 'commander';
import { InvalidArgumentError, Option } from 'commander';
import { OptionsError } from '../../errors';
import type { QuantizeOptions } from '../../pretrained/quantize';
import { numberFrom, seed, wholeNumber } from './numbers';

/** The options of methods that calibrate: gptq and rptq. */
export interface CalibrationCommandOptions {
  groupSize?: number;
  trueSequential?: boolean;
  damp?: number;
  mse?: number;
  dataset?: string;
  samples?: number;
  seqlen?: number;
  seed?: number | bigint;
  restart?: boolean;
}

export const CALIBRATION_OPTIONS = [
  ...['groupSize', 'trueSequential', 'damp', 'mse'],
  ...['dataset', 'samples', 'seqlen', 'seed', 'restart'],
] as readonly (keyof CalibrationCommandOptions)[];

export function addCalibrationOptions(command: Command): Command {
  return command
    .optionsGroup('Options of gptq and rptq:')
    .option('--dataset <name>', 'text to calibrate with: a file, wikitext2, c4 or ptb')
    .option('--samples <n>', 'windows of that text (default: 128)', wholeNumber(1))
    .option(
      '--seqlen <n>',
      'tokens of a window (default: 2048, or what the model takes)',
      wholeNumber(2),
    )
    .option('--seed <n>', 'of the random places of the windows (default: 0)', seed)
    .option(
      '--group-size <n>',
      'inputs per scale, -1 for all (default: 128; rptq: what clusters are multiples of)',
      groupSize,
    )
    .option('--true-sequential', 'calibrate each part of a layer on those before it (default)')
    .option('--no-true-sequential', 'calibrate all parts of a layer together: faster')
    .option(
      '--damp <share>',
      'of the mean of the Hessian, added to its diagonal (default: 0.01)',
      numberFrom(0, 1),
    )
    .addOption(
      new Option(
        '--mse [exponent]',
        'of the error by which each grid of weights is clipped; 0 for no clipping (default: 2.4)',
      )
        .preset('2.4')
        .argParser(numberFrom(0)),
    )
    .option('--restart', 'drop what an earlier run left in --out');
}

/** What the calibration is to be made with. @throws OptionsError when there is nothing */
export function calibrationOptions(
  method: 'gptq' | 'rptq',
  options: CalibrationCommandOptions & { rtn?: boolean },
): Pick<QuantizeOptions, 'dataset' | 'samples' | 'seqlen' | 'seed' | 'restart'> {
  const { dataset, samples, seqlen, seed, restart, rtn } = options;
  if (dataset === undefined && !rtn) {
    const without = method === 'gptq' ? ' (or --rtn, which rounds to nearest without)' : '';
    throw new OptionsError(
      `${method} needs text to calibrate with: --dataset FILE, wikitext2, c4 or ptb${without}`,
    );
  }
  if (rtn && (dataset ?? samples ?? seqlen ?? seed) !== undefined) {
    throw new OptionsError('--rtn needs no calibration: leave --dataset and its options out');
  }
  return given({ dataset, samples, seqlen, seed, restart });
}

/** The options that were given. */
export function given<T extends object>(options: T): T {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as T;
}

function groupSize(text: string): number {
  const size = wholeNumber(-1)(text);
  if (size !== 0) return size;
  throw new InvalidArgumentError('It must be a whole number above 0, or -1.');
}
