import { type Command, InvalidArgumentError, Option } from 'commander';
import { GptqConfig, type GptqOptions } from '../../quant';
import { type CalibrationCommandOptions, given } from './calibration';

/** The options of `quantize --method gptq` alone. */
export interface GptqCommandOptions {
  bits?: GptqOptions['bits'];
  sym?: boolean;
  asym?: boolean;
  descAct?: boolean;
  staticGroups?: boolean;
  actGroupAware?: boolean;
  rtn?: boolean;
  lmHead?: boolean;
  dynamic?: NonNullable<GptqOptions['dynamic']>;
}

export const GPTQ_OPTIONS = [
  ...[
    'bits',
    'sym',
    'asym',
    'descAct',
    'staticGroups',
    'actGroupAware',
    'rtn',
    'lmHead',
    'dynamic',
  ],
] as readonly (keyof GptqCommandOptions)[];

export function addGptqOptions(command: Command): Command {
  return command
    .optionsGroup('Options of gptq:')
    .addOption(
      new Option('--bits <n>', 'width of a weight: 2, 3, 4 or 8 (default: 4)').argParser(width),
    )
    .addOption(new Option('--sym', 'symmetric grids (default)').conflicts('asym'))
    .option('--asym', 'grids with a zero point of their own')
    .option('--desc-act', 'act-order: important inputs first, groups in that order')
    .option('--static-groups', 'make all scales before anything is quantized')
    .option('--act-group-aware', 'important inputs first inside of groups (default)')
    .option('--no-act-group-aware', 'inputs as they are')
    .option('--rtn', 'round to nearest, without calibration: the baseline')
    .option('--lm-head', 'also quantize the output projection (transformers cannot read that)')
    .option(
      '--dynamic <json>',
      'other settings for some layers, or -: to skip them, by regular expression',
      dynamic,
    );
}

/** The quantization that the options describe. @throws OptionsError */
export function gptqConfig(options: GptqCommandOptions & CalibrationCommandOptions): GptqConfig {
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

function width(text: string): number {
  if (['2', '3', '4', '8'].includes(text)) return Number(text);
  throw new InvalidArgumentError('It must be 2, 3, 4 or 8.');
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
