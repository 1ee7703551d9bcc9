import { Command, Option } from 'commander';
import { openCheckpoint } from '../../checkpoint/checkpoint';
import { OptionsError } from '../../errors';
import { type QuantizeProgress, type QuantizeReport, quantize } from '../../pretrained/quantize';
import type { GptqConfig, MethodConfig } from '../../quant';
import type { Context, ContextFactory } from '../context';
import { findModel } from '../open-model';
import {
  addGptqOptions,
  calibrationOptions,
  type GptqCommandOptions,
  gptqConfig,
} from '../options/gptq';
import { addModelOptions, hubOptions, type ModelOptions } from '../options/model-options';
import { byteSize, list, numberFrom } from '../options/numbers';
import { checked } from '../options/quantization';
import { formatBytes, formatCount, formatDuration } from '../output/format';
import { describeBytes, storedBytes } from '../stored-bytes';

interface Int8CommandOptions {
  threshold?: number;
  mode?: string;
  skipModules?: string[];
  quantizeHead?: boolean;
}

interface QuantizeCommandOptions extends ModelOptions, Int8CommandOptions, GptqCommandOptions {
  method?: string;
  out: string;
  maxShardSize?: number;
}

const DEFAULT_METHOD = 'llm.int8';
const INT8_OPTIONS = ['threshold', 'mode', 'skipModules', 'quantizeHead'] as const;
const GPTQ_OPTIONS = [
  ...['bits', 'groupSize', 'sym', 'asym', 'descAct', 'staticGroups', 'actGroupAware'],
  ...['trueSequential', 'damp', 'mse', 'rtn', 'lmHead', 'dynamic'],
  ...['dataset', 'samples', 'seqlen', 'seed', 'restart'],
] as readonly (keyof GptqCommandOptions)[];

const HELP = `
What it writes is a Hugging Face folder: llm.int8 for transformers with bitsandbytes, gptq for
GPTQModel, AutoGPTQ and transformers. gptq works layer by layer and keeps finished layers in --out:
the same command goes on after a crash. bitnet makes weights ternary, which ruins a model that was not
trained so.

Examples:
  $ fewbit quantize samples/sample-opt --method llm.int8 --out /tmp/sample-opt-int8
  $ fewbit quantize samples/sample-opt --method gptq --bits 4 --group-size 128 \\
      --dataset samples/text/heldout.txt --samples 16 --seqlen 512 --out /tmp/sample-opt-4bit`;

export function quantizeCommand(context: ContextFactory): Command {
  const command = new Command('quantize')
    .summary('write a quantized copy of a model')
    .description('Quantize a model and save it.')
    .argument('<model>', 'folder or hub id')
    .requiredOption('--out <folder>', 'where to save the quantized model')
    .addOption(
      new Option(
        '--method <name>',
        `llm.int8, gptq or bitnet (default: ${DEFAULT_METHOD})`,
      ).conflicts('quantization'),
    )
    .option('--max-shard-size <size>', 'largest weight file, e.g. 2GB (default: 5GB)', byteSize);
  addModelOptions(command)
    .optionsGroup('Options of llm.int8:')
    .option('--threshold <value>', 'size of an outlier, 0 for none (default: 6)', numberFrom(0))
    .option('--mode <name>', 'paper (default) or bitsandbytes')
    .option('--skip-modules <names>', 'layers to leave as they are, e.g. q_proj,fc2', list)
    .option('--quantize-head', 'also quantize the output projection');
  return addGptqOptions(command)
    .addHelpText('after', HELP)
    .action((model: string, options: QuantizeCommandOptions) => run(model, options, context));
}

async function run(
  name: string,
  options: QuantizeCommandOptions,
  createContext: ContextFactory,
): Promise<void> {
  const context = createContext(options);
  const { output, signal } = context;
  const config = configOf(options);
  const calibration = config.method === 'gptq' ? calibrationOptions(options) : {};
  const folder = await findModel(name, options, context);
  const before = await storedBytes(await openCheckpoint(folder));
  const { out, device, threads, maxShardSize } = options;
  const report = await quantize(folder, config, {
    ...calibration,
    ...hubOptions(options),
    out,
    device,
    signal,
    ...(threads !== undefined ? { threads } : {}),
    ...(maxShardSize !== undefined ? { maxShardBytes: maxShardSize } : {}),
    onProgress: (progress) => show(progress, context),
  });
  const after = await storedBytes(await openCheckpoint(out));
  output.result({ model: name, ...report, out, ...settings(config), before, after });
  output.line(`before  ${describeBytes(before)}`);
  output.line(`after   ${describeBytes(after)}`);
  if (config.method === 'gptq') output.line(describeGptq(report));
  output.line(`saved   ${out}`);
}

/** The method by its own options, or all of it by `--quantization`. */
function configOf(options: QuantizeCommandOptions): GptqConfig | MethodConfig {
  const { method = DEFAULT_METHOD, quantization } = options;
  const isGiven = (key: keyof QuantizeCommandOptions): boolean => options[key] !== undefined;
  if (quantization) {
    const twice = [...INT8_OPTIONS, ...GPTQ_OPTIONS].find(isGiven);
    if (!twice) return checked(quantization);
    throw new OptionsError(`--quantization already says all: put ${twice} into it`);
  }
  const [isGptq, int8, gptq] = [method === 'gptq', INT8_OPTIONS, GPTQ_OPTIONS];
  const foreign = (isGptq ? int8 : gptq).find(isGiven);
  if (foreign) {
    throw new OptionsError(
      `${asTyped(foreign)} is an option of ${isGptq ? 'other methods' : 'gptq'}, not of ${method}`,
    );
  }
  if (isGptq) return gptqConfig(options);
  const own = INT8_OPTIONS.filter(isGiven).map((key) => [key, options[key]]);
  return checked({ method, ...Object.fromEntries(own) });
}

function asTyped(option: string): string {
  return `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function settings(config: GptqConfig | MethodConfig): object {
  if (config.method === 'gptq') return { config: config.toJSON() };
  return config.method === 'llm.int8' ? { threshold: config.threshold, mode: config.mode } : {};
}

function show(progress: QuantizeProgress, { output }: Context): void {
  const bytes = (label: string, loaded: number, total: number): void =>
    output.progress.update(label, loaded, total, `${formatBytes(loaded)} of ${formatBytes(total)}`);
  switch (progress.phase) {
    case 'calibrate': {
      const { at, done, total } = progress;
      output.progress.update(at, done, total, `window ${done} of ${total}`);
      return;
    }
    case 'layer': {
      const { done, total, name, error, damp, seconds, eta } = progress;
      const how = damp < 0 ? 'rounded to nearest' : `damp ${damp.toFixed(3)}`;
      output.log(
        `${done} of ${total}  ${name}  error ${error.toExponential(2)}  ${how}  ` +
          `${seconds.toFixed(1)} s  ${formatDuration(eta)} left`,
      );
      return;
    }
    case 'notice':
      output.log(`note: ${progress.message}`);
      return;
    default:
      bytes(progress.phase, progress.loaded, progress.total);
  }
}

function describeGptq({ layers, calibration, seconds }: QuantizeReport): string {
  const rounded = layers.filter(({ damp }) => damp < 0).length;
  const how = calibration
    ? `on ${formatCount(calibration.tokens)} tokens of ${calibration.dataset}`
    : 'without calibration';
  const nearest = rounded > 0 ? `, ${rounded} of them rounded to nearest` : '';
  return `layers  ${layers.length} quantized ${how}${nearest}, ${formatDuration(seconds)}`;
}
