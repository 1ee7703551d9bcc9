import { Command, Option } from 'commander';
import { openCheckpoint } from '../../checkpoint/checkpoint';
import { OptionsError } from '../../errors';
import { type QuantizeProgress, type QuantizeReport, quantize } from '../../pretrained/quantize';
import type { GptqConfig, MethodConfig, RptqConfig } from '../../quant';
import type { Context, ContextFactory } from '../context';
import { findModel } from '../open-model';
import {
  addCalibrationOptions,
  CALIBRATION_OPTIONS,
  type CalibrationCommandOptions,
  calibrationOptions,
} from '../options/calibration';
import { addGptqOptions, GPTQ_OPTIONS, type GptqCommandOptions, gptqConfig } from '../options/gptq';
import { addModelOptions, hubOptions, type ModelOptions } from '../options/model-options';
import { byteSize, list, numberFrom } from '../options/numbers';
import { checked } from '../options/quantization';
import { addRptqOptions, RPTQ_OPTIONS, type RptqCommandOptions, rptqConfig } from '../options/rptq';
import { formatBytes, formatCount, formatDuration } from '../output/format';
import { describeBytes, storedBytes } from '../stored-bytes';

interface Int8CommandOptions {
  threshold?: number;
  mode?: string;
  skipModules?: string[];
  quantizeHead?: boolean;
}

interface QuantizeCommandOptions
  extends ModelOptions,
    Int8CommandOptions,
    CalibrationCommandOptions,
    GptqCommandOptions,
    RptqCommandOptions {
  method?: string;
  out: string;
  maxShardSize?: number;
}

type Key = keyof QuantizeCommandOptions;
type Config = GptqConfig | RptqConfig | MethodConfig;

const DEFAULT_METHOD = 'llm.int8';
const INT8_OPTIONS = ['threshold', 'mode', 'skipModules', 'quantizeHead'] as const;
/** Whose options there are: sets of them, and how messages name the methods that take them. */
const OWNED: readonly { methods: string[]; title: string; options: readonly Key[] }[] = [
  { methods: ['llm.int8', 'bitnet'], title: 'other methods', options: INT8_OPTIONS },
  { methods: ['gptq', 'rptq'], title: 'gptq and rptq', options: CALIBRATION_OPTIONS },
  { methods: ['gptq'], title: 'gptq', options: GPTQ_OPTIONS },
  { methods: ['rptq'], title: 'rptq', options: RPTQ_OPTIONS },
];

const HELP = `
What it writes is a Hugging Face folder: llm.int8 for transformers with bitsandbytes, gptq for
GPTQModel, for transformers with optimum (without --lm-head and --dynamic) and, on symmetric grids, for
AutoGPTQ; rptq for fewbit alone. gptq and rptq work layer by layer and keep finished layers in --out:
the same command goes on after a crash. bitnet makes weights ternary, which ruins a model that was not
trained so.

Examples:
  $ fewbit quantize samples/sample-opt --method llm.int8 --out /tmp/sample-opt-int8
  $ fewbit quantize samples/sample-opt --method gptq --bits 4 --group-size 128 \\
      --dataset samples/text/heldout.txt --samples 16 --seqlen 512 --out /tmp/sample-opt-4bit
  $ fewbit quantize samples/sample-llama --method rptq --config W4A8 \\
      --dataset samples/text/heldout.txt --samples 16 --seqlen 512 --out /tmp/sample-llama-w4a8`;

export function quantizeCommand(context: ContextFactory): Command {
  const command = new Command('quantize')
    .summary('write a quantized copy of a model')
    .description('Quantize a model and save it.')
    .argument('<model>', 'folder or hub id')
    .requiredOption('--out <folder>', 'where to save the quantized model')
    .addOption(
      new Option(
        '--method <name>',
        `llm.int8, gptq, rptq or bitnet (default: ${DEFAULT_METHOD})`,
      ).conflicts('quantization'),
    )
    .option('--max-shard-size <size>', 'largest weight file, e.g. 2GB (default: 5GB)', byteSize);
  addModelOptions(command)
    .optionsGroup('Options of llm.int8:')
    .option('--threshold <value>', 'size of an outlier, 0 for none (default: 6)', numberFrom(0))
    .option('--mode <name>', 'paper (default) or bitsandbytes')
    .option('--skip-modules <names>', 'layers to leave as they are, e.g. q_proj,fc2', list)
    .option('--quantize-head', 'also quantize the output projection');
  for (const add of [addCalibrationOptions, addGptqOptions, addRptqOptions]) add(command);
  return command
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
  const calibration = calibrates(config) ? calibrationOptions(config.method, options) : {};
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
  if (calibrates(config)) output.line(describeLayers(report));
  output.line(`saved   ${out}`);
}

/** The method by its own options, or all of it by `--quantization`. */
function configOf(options: QuantizeCommandOptions): Config {
  const { method = DEFAULT_METHOD, quantization } = options;
  const isGiven = (key: Key): boolean => options[key] !== undefined;
  if (quantization) {
    const twice = OWNED.flatMap((set) => set.options).find(isGiven);
    if (!twice) return checked(quantization);
    throw new OptionsError(`--quantization already says all: put ${twice} into it`);
  }
  // A method that is not known is for `checked` to refuse.
  const own = OWNED.some(({ methods }) => methods.includes(method)) ? method : DEFAULT_METHOD;
  for (const { title, options: set } of OWNED.filter(({ methods }) => !methods.includes(own))) {
    const foreign = set.find(isGiven);
    if (!foreign) continue;
    throw new OptionsError(`${asTyped(foreign)} is an option of ${title}, not of ${method}`);
  }
  if (method === 'gptq') return gptqConfig(options);
  if (method === 'rptq') return rptqConfig(options);
  const values = INT8_OPTIONS.filter(isGiven).map((key) => [key, options[key]]);
  return checked({ method, ...Object.fromEntries(values) });
}

function asTyped(option: string): string {
  return `--${option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

function calibrates(config: Config): config is GptqConfig | RptqConfig {
  return config.method === 'gptq' || config.method === 'rptq';
}

function settings(config: Config): object {
  if (calibrates(config)) return { config: config.toJSON() };
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

function describeLayers({ layers, calibration, seconds }: QuantizeReport): string {
  const rounded = layers.filter(({ damp }) => damp < 0).length;
  const how = calibration
    ? `on ${formatCount(calibration.tokens)} tokens of ${calibration.dataset}`
    : 'without calibration';
  const nearest = rounded > 0 ? `, ${rounded} of them rounded to nearest` : '';
  return `layers  ${layers.length} quantized ${how}${nearest}, ${formatDuration(seconds)}`;
}
