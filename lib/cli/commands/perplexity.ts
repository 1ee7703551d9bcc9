import { Command } from 'commander';
import { perplexity } from '../../eval/perplexity';
import { DEFAULT_WINDOW } from '../../eval/windows';
import type { ContextFactory } from '../context';
import { loadModel } from '../open-model';
import { addModelOptions, kvBitsOption, type ModelOptions } from '../options/model-options';
import { wholeNumber } from '../options/numbers';
import { formatCount, formatPerplexity } from '../output/format';
import { addTextSource, type TextSourceOptions } from '../text-source';
import { openWindows } from '../windowed-text';

interface PerplexityCommandOptions extends ModelOptions, TextSourceOptions {
  window?: number;
  limit?: number;
}

/** Rows of one chunk of the engine: as many windows as fit share it. */
const CHUNK = 512;

const HELP = `
Perplexity is exp of the mean negative log-likelihood of all ids but the first of each window; the
windows are disjoint, and a last, shorter one of at least 2 ids counts.

Example:
  $ fewbit perplexity samples/sample-opt --ids samples/text/heldout-ids.u16 --quantization llm.int8`;

export function perplexityCommand(context: ContextFactory): Command {
  const command = new Command('perplexity')
    .summary('measure a model on a text')
    .description('Measure the perplexity of a model on a text.')
    .argument('<model>', 'folder or hub id')
    .option('--window <ids>', `ids of one window (default: ${DEFAULT_WINDOW})`, wholeNumber(2))
    .option('--limit <n>', 'evaluate only the first n windows', wholeNumber(1))
    .addOption(kvBitsOption())
    .addHelpText('after', HELP);
  return addModelOptions(addTextSource(command)).action(
    (model: string, options: PerplexityCommandOptions) => run(model, options, context),
  );
}

async function run(
  name: string,
  options: PerplexityCommandOptions,
  createContext: ContextFactory,
): Promise<void> {
  const context = createContext(options);
  const { output, signal } = context;
  const { folder, ids, window, maxContext } = await openWindows(name, options, context);
  await using model = await loadModel(folder, options, context, {
    maxBatch: Math.max(1, Math.floor(CHUNK / window)),
    maxContext,
  });
  const result = await perplexity(model, ids, {
    window,
    limit: options.limit,
    signal,
    onProgress: ({ windows, totalWindows, perplexity }) =>
      output.progress.update(
        'perplexity',
        windows,
        totalWindows,
        `${windows} of ${totalWindows} windows, ${formatPerplexity(perplexity)} so far`,
      ),
  });
  const int8Share = model.transformer.int8Share();
  output.result({
    model: name,
    device: model.device.name,
    window,
    ...result,
    weightBytes: model.transformer.bytes,
    ...(int8Share === undefined ? {} : { int8Share }),
  });
  output.line(
    `perplexity ${result.perplexity.toFixed(4)} on ${formatCount(result.tokens)} tokens ` +
      `(${result.windows} windows of ${window}), ${result.seconds.toFixed(1)} s`,
  );
}
