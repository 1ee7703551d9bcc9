import { Command } from 'commander';
import { PRESET_NAMES } from '../../checkpoint/presets';
import { OptionsError } from '../../errors';
import { DEFAULT_WINDOW } from '../../eval/windows';
import type { ContextFactory } from '../context';
import { type ChannelCommandOptions, drawChannels } from '../inspect/channels';
import { type MemoryCommandOptions, printMemory } from '../inspect/memory';
import { type OutlierCommandOptions, printOutliers } from '../inspect/outliers';
import { isPreset } from '../inspect/shapes';
import { printSummary, type SummaryOptions } from '../inspect/summary';
import { addModelOptions } from '../options/model-options';
import { gigabytes, numberFrom, wholeNumber, wholeNumbers } from '../options/numbers';
import { addTextSource } from '../text-source';

interface InspectOptions
  extends Omit<SummaryOptions, 'batch' | 'context'>,
    OutlierCommandOptions,
    Pick<ChannelCommandOptions, 'out'>,
    Pick<MemoryCommandOptions, 'gpu'> {
  batch?: number[];
  context?: number[];
  memory?: boolean;
  outliers?: boolean;
  channels?: boolean;
}

const HELP = `
Without --outliers no weights are read; MODEL may also be one of these shapes:
  ${PRESET_NAMES.join(', ')}

With --outliers the model runs on a text, and reports the hidden features with large values (as
arXiv 2208.07339 defines them) and what zeroing them does to perplexity.

With --memory, weights, cache and activations are planned for a GPU (or the CPU, with --device cpu).

Examples:
  $ fewbit inspect llama-2-7b --quantization llm.int8 --batch 8 --context 4096
  $ fewbit inspect samples/sample-opt --channels --text samples/text/heldout.txt --out report.html
  $ fewbit inspect opt-66b --memory --batch 1,8,64 --context 2048 --gpu 80
  $ fewbit inspect samples/sample-opt --outliers --text samples/text/heldout.txt`;

export function inspectCommand(context: ContextFactory): Command {
  const command = new Command('inspect')
    .summary('say what a model is, what memory it needs, and which features are outliers')
    .description('Say what a model is and what memory it needs, before it is loaded.')
    .argument('<model>', 'folder, hub id or preset')
    .option('--batch <n>', 'sequences at once (default: 1)', wholeNumbers(1, 2 ** 20))
    .option('--context <n>', "tokens of each (default: the model's, at most 4096)", wholeNumbers(1))
    .option('--memory', 'what every method and configuration needs; lists of --batch and --context')
    .option('--gpu <GB>', 'with --memory: mark what does not fit', gigabytes)
    .option('--layers', 'list every layer by itself')
    .option('--channels', 'run the model and draw the ranges of its channels, and their clusters')
    .option('--out <file>', 'with --channels: the HTML file to write')
    .option('--outliers', 'run the model and find its outlier features')
    .option('--threshold <value>', 'size of an outlier (default: 6)', numberFrom(0))
    .option('--window <ids>', `ids of one window (default: ${DEFAULT_WINDOW})`, wholeNumber(2))
    .option('--limit <n>', 'use only the first n windows (default: 8)', wholeNumber(1))
    .option('--draws <n>', 'sets of random features to zero (default: 3)', wholeNumber(1))
    .option('--seed <n>', 'of the random features (default: 0)', wholeNumber(0))
    .addHelpText('after', HELP);
  return addModelOptions(addTextSource(command)).action((model: string, options: InspectOptions) =>
    run(model, options, context),
  );
}

/** Options that mean nothing without `--outliers`. */
const OUTLIER_OPTIONS = ['text', 'ids', 'threshold', 'window', 'limit', 'draws', 'seed'] as const;

async function run(
  name: string,
  options: InspectOptions,
  createContext: ContextFactory,
): Promise<void> {
  const context = createContext(options);
  const reports = (['memory', 'outliers', 'channels'] as const).filter((name) => options[name]);
  if (reports.length > 1) {
    throw new OptionsError(`--${reports.join(' and --')} are two reports: ask for one of them`);
  }
  if (options.out !== undefined && !options.channels)
    throw new OptionsError('--out needs --channels');
  if (options.gpu !== undefined && !options.memory) throw new OptionsError('--gpu needs --memory');
  if (!options.outliers && !options.channels) {
    const stray = OUTLIER_OPTIONS.find((option) => options[option] !== undefined);
    if (stray) throw new OptionsError(`--${stray} needs --outliers`);
    const { batch = [1], context: tokens, ...rest } = options;
    if (options.memory)
      return printMemory(name, { ...rest, batch, context: tokens ?? [2048] }, context);
    const sizes = {
      batch: only('batch', batch),
      ...(tokens ? { context: only('context', tokens) } : {}),
    };
    return printSummary(name, { ...rest, ...sizes }, context);
  }
  if (isPreset(name)) {
    const report = options.channels ? 'channels' : 'outliers';
    throw new OptionsError(`${name} is a preset of shapes: --${report} needs a trained model`);
  }
  if (options.channels) return drawChannels(name, options, context);
  return printOutliers(name, options, context);
}

/** The value of an option that may be a list elsewhere. */
function only(option: string, values: readonly number[]): number {
  const [first, other] = values as [number, number?];
  if (other === undefined) return first;
  throw new OptionsError(`--${option} is a list: that needs --memory`);
}
