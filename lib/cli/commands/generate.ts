import { Command } from 'commander';
import { openCheckpoint } from '../../checkpoint/checkpoint';
import { AutoTokenizer, type Tokenizer } from '../../checkpoint/tokenizer';
import type { GenerationOptions, GenerationResult } from '../../engine';
import type { CausalLanguageModel } from '../../pretrained/model';
import type { Context, ContextFactory } from '../context';
import { findModel, loadModel } from '../open-model';
import { addModelOptions, kvBitsOption, type ModelOptions } from '../options/model-options';
import { collect } from '../options/numbers';
import { addSamplingOptions, type SamplingOptions, samplingOptions } from '../options/sampling';
import { encodePrompts, type Prompt, type PromptOptions, promptTexts } from '../prompts';

interface GenerateOptions extends ModelOptions, SamplingOptions, PromptOptions {}

const DEFAULT_NEW_TOKENS = 128;

const HELP = `
One prompt is streamed as it is generated; several --prompt options run as one batch.

Examples:
  $ fewbit generate samples/sample-opt --prompt 'It was a dark night' --quantization llm.int8
  $ cat question.txt | fewbit generate HuggingFaceTB/SmolLM2-360M-Instruct --chat --prompt -`;

export function generateCommand(context: ContextFactory): Command {
  const command = new Command('generate')
    .summary('continue a prompt')
    .description('Continue a prompt, or several at once.')
    .argument('<model>', 'folder or hub id')
    .option('--prompt <text>', 'text to continue, - for stdin; may be repeated', collect)
    .option('--chat', "put the prompt into the model's chat template")
    .option('--system <text>', 'system message of the chat')
    .addOption(kvBitsOption())
    .addHelpText('after', HELP);
  return addModelOptions(addSamplingOptions(command)).action(
    (model: string, options: GenerateOptions) => run(model, options, context),
  );
}

async function run(
  name: string,
  options: GenerateOptions,
  createContext: ContextFactory,
): Promise<void> {
  const context = createContext(options);
  const texts = await promptTexts(options);
  const folder = await findModel(name, options, context);
  const tokenizer = await AutoTokenizer.fromPretrained(folder);
  const prompts = encodePrompts(texts, tokenizer, options);
  await using model = await loadModel(folder, options, context, {
    maxBatch: prompts.length,
    maxContext: await contextFor(folder, prompts, options),
  });
  const request = { ...samplingOptions(options), signal: context.signal };
  const [only] = prompts;
  if (only && prompts.length === 1) await generateOne(model, tokenizer, only, request, context);
  else await generateBatch(model, tokenizer, prompts, request, context);
}

/** Cache is taken for what this run can use, not for all that the model allows. */
async function contextFor(
  folder: string,
  prompts: readonly Prompt[],
  { maxNewTokens = DEFAULT_NEW_TOKENS }: SamplingOptions,
): Promise<number> {
  const { config } = await openCheckpoint(folder);
  const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 1);
  return Math.min(longest + maxNewTokens, config.maxPositionEmbeddings);
}

async function generateOne(
  model: CausalLanguageModel,
  tokenizer: Tokenizer,
  prompt: Prompt,
  request: GenerationOptions,
  { output }: Context,
): Promise<void> {
  const start = performance.now();
  const generation = model.stream(tokenizer, prompt.ids, request);
  for await (const { text } of generation) output.text(text);
  const result = await generation.result();
  output.line();
  const speed = speedOf([result], start);
  output.result({ prompt: prompt.text, ...result, ...speed });
  output.note(summary(model, result.tokens.length, speed));
}

async function generateBatch(
  model: CausalLanguageModel,
  tokenizer: Tokenizer,
  prompts: readonly Prompt[],
  request: GenerationOptions,
  { output }: Context,
): Promise<void> {
  const start = performance.now();
  const ids = prompts.map((prompt) => prompt.ids);
  const generated = await model.engine.generateAll(ids, request, tokenizer);
  const speed = speedOf(generated, start);
  const results = generated.map((result, i) => ({ prompt: prompts[i]?.text, ...result }));
  for (const [i, { prompt, text }] of results.entries()) {
    output.line(`${i > 0 ? '\n' : ''}[${i + 1}] ${prompt}`);
    output.line(text);
  }
  output.result({ results, ...speed });
  output.note(summary(model, countTokens(generated), speed));
}

interface Speed {
  seconds: number;
  tokensPerSecond: number;
}

/** Generated tokens by the time for prompts and tokens together. */
function speedOf(results: readonly GenerationResult[], start: number): Speed {
  const seconds = (performance.now() - start) / 1000;
  return { seconds, tokensPerSecond: countTokens(results) / seconds };
}

function countTokens(results: readonly GenerationResult[]): number {
  return results.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

function summary({ device }: CausalLanguageModel, tokens: number, speed: Speed): string {
  const { seconds, tokensPerSecond } = speed;
  const time = `${seconds.toFixed(1)} s (${tokensPerSecond.toFixed(1)} tokens/s)`;
  return `${tokens} tokens in ${time} on ${device.name}`;
}
