import { join } from 'node:path';
import { Command } from 'commander';
import { AutoTokenizer } from '../../checkpoint/tokenizer';
import { type OutlierVariant, writeOutlierVariant } from '../../eval/outlier-variant';
import { DEFAULT_WINDOW } from '../../eval/windows';
import type { CausalLanguageModel } from '../../pretrained/model';
import type { Context, ContextFactory } from '../context';
import { sampleFiles, withTemporaryFolder } from '../demo/files';
import {
  CONTENDERS,
  type Comparison,
  type Contender,
  type Measurement,
  measure,
} from '../demo/measure';
import { lossOf, tableHead, tableRow, widthsHead, widthsRow } from '../demo/table';
import { folderOf, WIDTHS } from '../demo/widths';
import { loadModel } from '../open-model';
import { addOutputOptions, deviceOption, type ModelOptions } from '../options/model-options';
import { wholeNumber } from '../options/numbers';
import { formatCount } from '../output/format';
import { readIds } from '../text-source';

interface DemoOptions extends ModelOptions {
  limit: number;
}

/** Windows that all evaluations on two cores get through in under a minute. */
const DEFAULT_LIMIT = 32;
const PROMPT = 'It was a dark night, and the old man';
const CONTINUATION = { maxNewTokens: 64, temperature: 0.7, topP: 0.9, seed: 7 };

const HELP = `
Example:
  $ fewbit demo --limit 64`;

export function demoCommand(context: ContextFactory): Command {
  const command = new Command('demo')
    .summary('see on small models what few bits cost')
    .description(
      'Measure a small model, and a copy of it with outlier features, in 16 bits, in plain int8 and ' +
        'in LLM.int8(); then another one in ever fewer bits per weight, down to ternary.',
    )
    .option('--limit <n>', 'windows of held-out text', wholeNumber(1), DEFAULT_LIMIT)
    .addOption(deviceOption())
    .option('--threads <n>', 'threads of the CPU, 0 for one per core', wholeNumber(0, 1024))
    .addHelpText('after', HELP);
  return addOutputOptions(command).action((options: DemoOptions) =>
    withTemporaryFolder((folder) => run(options, context(options), folder)),
  );
}

async function run(options: DemoOptions, context: Context, folder: string): Promise<void> {
  const { output } = context;
  const files = sampleFiles();
  const ids = await readIds({ ids: files.ids }, files.opt);
  const copy = join(folder, 'outliers');
  const variant = await writeOutlierVariant(files.opt, copy);

  const tokens = Math.min(options.limit * DEFAULT_WINDOW, ids.length);
  output.line(
    `Perplexity on ${formatCount(tokens)} tokens of books that the model has not seen:\n`,
  );
  output.line(tableHead());
  output.line('sample-opt');
  const plain = await compare(files.opt, ids, options, context);
  output.line(`sample-opt with ${variant.features.length} outlier features`);
  const outliers = await compare(copy, ids, options, context);

  output.line(`\n${explanation(outliers, variant)}\n`);
  const widths = await narrow({ files, ids, folder }, options, context);
  const text = await continuation(copy, options, context);
  output.result({ tokens, variant, plain, outliers, widths, prompt: PROMPT, text });
}

/** Measures a model in ever fewer bits, and one that was trained with ternary weights. */
async function narrow(
  { files, ids, folder }: Evaluated,
  options: DemoOptions,
  context: Context,
): Promise<Record<string, Measurement>> {
  const { output } = context;
  const rows: Record<string, Measurement> = {};
  output.line(widthsHead());
  let last: string | undefined;
  for (const width of WIDTHS) {
    if (width.model !== last) output.line(`sample-${width.model}`);
    last = width.model;
    const from = await folderOf(width, files, folder, options, context);
    await using model = await loadAs(width, from, options, context);
    const row = await measureOne(width.name, model, ids, options, context);
    rows[width.key] = row;
    output.line(widthsRow(width.name, row, width.model === 'llama' ? rows.bits16 : undefined));
  }
  output.line(`\n${NARROW}\n`);
  return rows;
}

/** What the second table is made from. */
interface Evaluated {
  files: ReturnType<typeof sampleFiles>;
  ids: ArrayLike<number>;
  /** A folder for quantized copies. */
  folder: string;
}

const NARROW = [
  'Both were trained on the same text. Rounding a trained model costs more with every bit, and as ternary',
  'weights (1.58 bits of information, 2 bits in memory) this one has forgotten what it knew. sample-bitnet was',
  'trained with such weights: it needs more of them, 7.4 million to 4.2, and still less than half of the memory.',
].join('\n');

/** Measures all contenders on one model and prints a row for each. */
async function compare(
  folder: string,
  ids: ArrayLike<number>,
  options: DemoOptions,
  context: Context,
): Promise<Comparison> {
  const rows: Partial<Comparison> = {};
  for (const [key, contender] of Object.entries(CONTENDERS)) {
    await using model = await loadAs(contender, folder, options, context);
    const row = await measureOne(contender.name, model, ids, options, context);
    rows[key as keyof Comparison] = row;
    context.output.line(tableRow(contender.name, row, rows.bits16 ?? row));
  }
  return rows as Comparison;
}

function measureOne(
  name: string,
  model: CausalLanguageModel,
  ids: ArrayLike<number>,
  { limit }: DemoOptions,
  { output, signal }: Context,
): Promise<Measurement> {
  return measure(model, ids, {
    window: DEFAULT_WINDOW,
    limit,
    signal,
    onProgress: (done, total) => output.progress.update(`  ${name}`, done, total),
  });
}

function explanation(outliers: Comparison, { features, scale }: OutlierVariant): string {
  const { bits16, plainInt8, llmInt8 } = outliers;
  return [
    `Both models compute the same function, but in the second one ${features.length} hidden features are ${scale} times as`,
    'large, as they become by themselves in models above 6.7B parameters. They stretch the int8 scale',
    `of every row, which costs ${lossOf(plainInt8, bits16)} in perplexity; LLM.int8() multiplies those few columns in`,
    `16 bits and stays at ${lossOf(llmInt8, bits16)}.`,
  ].join('\n');
}

function loadAs(
  { quantization }: Contender,
  folder: string,
  options: DemoOptions,
  context: Context,
): Promise<CausalLanguageModel> {
  const sizes = { maxBatch: 1, maxContext: DEFAULT_WINDOW };
  return loadModel(folder, quantization ? { ...options, quantization } : options, context, sizes);
}

/** Streams a continuation from the LLM.int8() model with the outlier features. */
async function continuation(
  folder: string,
  options: DemoOptions,
  context: Context,
): Promise<string> {
  const { output, signal } = context;
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  await using model = await loadAs(CONTENDERS.llmInt8, folder, options, context);
  output.line('The LLM.int8() model with the outlier features continues:\n');
  output.text(PROMPT);
  const generation = model.stream(tokenizer, PROMPT, { ...CONTINUATION, signal });
  for await (const { text } of generation) output.text(text);
  output.line();
  return (await generation.result()).text;
}
