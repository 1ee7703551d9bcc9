import { resolve } from 'node:path';
import { Command, Option } from 'commander';
import { openCheckpoint } from '../../checkpoint/checkpoint';
import { OptionsError } from '../../errors';
import type { LlmInt8Config } from '../../quant';
import type { ContextFactory } from '../context';
import { findModel, loadModel } from '../open-model';
import { addModelOptions, type ModelOptions } from '../options/model-options';
import { byteSize, list, numberFrom } from '../options/numbers';
import { checked } from '../options/quantization';
import { formatBytes } from '../output/format';
import { describeBytes, storedBytes } from '../stored-bytes';

interface QuantizeOptions extends ModelOptions {
  method?: string;
  out: string;
  threshold?: number;
  mode?: string;
  skipModules?: string[];
  quantizeHead?: boolean;
  maxShardSize?: number;
}

const DEFAULT_METHOD = 'llm.int8';

const HELP = `
What it writes is a Hugging Face folder that transformers with bitsandbytes can load, too.

Example:
  $ fewbit quantize samples/sample-opt --method llm.int8 --out /tmp/sample-opt-int8`;

export function quantizeCommand(context: ContextFactory): Command {
  const command = new Command('quantize')
    .summary('write a quantized copy of a model')
    .description('Quantize a model and save it.')
    .argument('<model>', 'folder or hub id')
    .requiredOption('--out <folder>', 'where to save the quantized model')
    .addOption(
      new Option('--method <name>', `llm.int8 (default: ${DEFAULT_METHOD})`).conflicts(
        'quantization',
      ),
    )
    .option('--threshold <value>', 'size of an outlier, 0 for none (default: 6)', numberFrom(0))
    .option('--mode <name>', 'paper (default) or bitsandbytes')
    .option('--skip-modules <names>', 'layers to leave as they are, e.g. q_proj,fc2', list)
    .option('--quantize-head', 'also quantize the output projection')
    .option('--max-shard-size <size>', 'largest weight file, e.g. 2GB (default: 5GB)', byteSize)
    .addHelpText('after', HELP);
  return addModelOptions(command).action((model: string, options: QuantizeOptions) =>
    run(model, options, context),
  );
}

async function run(
  name: string,
  options: QuantizeOptions,
  createContext: ContextFactory,
): Promise<void> {
  const context = createContext(options);
  const { output, signal } = context;
  const quantization = configOf(options);
  const folder = await findModel(name, options, context);
  if (resolve(options.out) === folder) {
    throw new OptionsError('--out is the folder of the model itself: choose another one');
  }
  const before = await storedBytes(await openCheckpoint(folder));
  await using model = await loadModel(folder, { ...options, quantization }, context);
  await model.savePretrained(options.out, {
    ...(options.maxShardSize !== undefined ? { maxShardBytes: options.maxShardSize } : {}),
    onProgress: ({ loaded, total }) => {
      signal.throwIfAborted();
      output.progress.update('save', loaded, total, formatBytes(loaded));
    },
  });
  const after = await storedBytes(await openCheckpoint(options.out));
  const { method, threshold, mode } = quantization;
  output.result({ model: name, out: options.out, method, threshold, mode, before, after });
  output.line(`before  ${describeBytes(before)}`);
  output.line(`after   ${describeBytes(after)}`);
  output.line(`saved   ${options.out}`);
}

/** The method by its own options, or all of it by `--quantization`. */
function configOf(options: QuantizeOptions): LlmInt8Config {
  const { method = DEFAULT_METHOD, threshold, mode, skipModules, quantizeHead } = options;
  const settings = { threshold, mode, skipModules, quantizeHead };
  const given = Object.entries(settings).filter(([, value]) => value !== undefined);
  if (!options.quantization) return checked({ method, ...Object.fromEntries(given) });
  const [twice] = given;
  if (twice) throw new OptionsError(`--quantization already says all: put ${twice[0]} into it`);
  return checked(options.quantization);
}
