import { type Command, InvalidArgumentError, Option } from 'commander';
import { OptionsError } from '../../errors';
import type { QuantizeOptions } from '../../pretrained/quantize';
import { GptqConfig, type GptqOptions } from '../../quant';
import { numberFrom, seed, wholeNumber } from './numbers';

/** The options of `quantize --method gptq`. */
export interface GptqCommandOptions {
  bits?: GptqOptions['bits'];
  groupSize?: number;
  sym?: boolean;
  asym?: boolean;
  descAct?: boolean;
  staticGroups?: boolean;
  actGroupAware?: boolean;
  trueSequential?: boolean;
  damp?: number;
  mse?: number;
  rtn?: boolean;
  lmHead?: boolean;
  dynamic?: NonNullable<GptqOptions['dynamic']>;
  dataset?: string;
  samples?: number;
  seqlen?: number;
  seed?: number | bigint;
  restart?: boolean;
}

export function addGptqOptions(command: Command): Command {
  return command
    .optionsGroup('Options of gptq:')
    .addOption(
      new Option('--bits <n>', 'width of a weight: 2, 3, 4 or 8 (default: 4)').argParser(width),
    )
    .option('--group-size <n>', 'inputs per scale, -1 for all (default: 128)', groupSize)
    .option('--dataset <name>', 'text to calibrate with: a file, wikitext2, c4 or ptb')
    .option('--samples <n>', 'windows of that text (default: 128)', wholeNumber(1))
    .option(
      '--seqlen <n>',
      'tokens of a window (default: 2048, or what the model takes)',
      wholeNumber(2),
    )
    .option('--seed <n>', 'of the random places of the windows (default: 0)', seed)
    .addOption(new Option('--sym', 'symmetric grids (default)').conflicts('asym'))
    .option('--asym', 'grids with a zero point of their own')
    .option('--desc-act', 'act-order: important inputs first, groups in that order')
    .option('--static-groups', 'make all scales before anything is quantized')
    .option('--act-group-aware', 'important inputs first inside of groups (default)')
    .option('--no-act-group-aware', 'inputs as they are')
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
        'of the error by which each grid is clipped; 0 for no clipping (default: 2.4)',
      )
        .preset('2.4')
        .argParser(numberFrom(0)),
    )
    .option('--rtn', 'round to nearest, without calibration: the baseline')
    .option('--lm-head', 'also quantize the output projection')
    .option(
      '--dynamic <json>',
      'other settings for some layers, or -: to skip them, by regular expression',
      dynamic,
    )
    .option('--restart', 'drop what an earlier run left in --out');
}

/** The quantization that the options describe. @throws OptionsError */
export function gptqConfig(options: GptqCommandOptions): GptqConfig {
  const { bits, groupSize, sym, asym, descAct, staticGroups, actGroupAware } = options;
  const { trueSequential, damp, mse, rtn, lmHead, dynamic } = options;
  return new GptqConfig(
    given({
      bits,
      groupSize,
      sym: asym ? false : sym,
      descAct,
      staticGroups,
      actGroupAware,
      trueSequential,
      damp,
      mse,
      roundToNearest: rtn,
      lmHead,
      dynamic,
    }),
  );
}

/** What the calibration is to be made with. @throws OptionsError when there is nothing */
export function calibrationOptions(
  options: GptqCommandOptions,
): Pick<QuantizeOptions, 'dataset' | 'samples' | 'seqlen' | 'seed' | 'restart'> {
  const { dataset, samples, seqlen, seed, restart, rtn } = options;
  if (dataset === undefined && !rtn) {
    throw new OptionsError(
      'gptq needs text to calibrate with: --dataset FILE, wikitext2, c4 or ptb (or --rtn, which ' +
        'rounds to nearest without)',
    );
  }
  if (rtn && (dataset ?? samples ?? seqlen ?? seed) !== undefined) {
    throw new OptionsError('--rtn needs no calibration: leave --dataset and its options out');
  }
  return given({ dataset, samples, seqlen, seed, restart });
}

function given<T extends object>(options: T): T {
  return Object.fromEntries(
    Object.entries(options).filter(([, value]) => value !== undefined),
  ) as T;
}

function width(text: string): number {
  if (['2', '3', '4', '8'].includes(text)) return Number(text);
  throw new InvalidArgumentError('It must be 2, 3, 4 or 8.');
}

function groupSize(text: string): number {
  const size = wholeNumber(-1)(text);
  if (size !== 0) return size;
  throw new InvalidArgumentError('It must be a whole number above 0, or -1.');
}

function dynamic(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(
      `It must be JSON such as '{"-:.*down_proj": {}, ".*v_proj": {"bits": 8}}': ${(error as Error).message}.`,
    );
  }
}
