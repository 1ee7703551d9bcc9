import type { Command } from 'commander';
import type { GenerationOptions } from '../../engine';
import { collect, numberFrom, seed, wholeNumber } from './numbers';

/** The options of `generate` that say how tokens are chosen, under their names in the API. */
export type SamplingOptions = Pick<
  GenerationOptions,
  | 'maxNewTokens'
  | 'temperature'
  | 'topK'
  | 'topP'
  | 'minP'
  | 'repetitionPenalty'
  | 'seed'
  | 'ignoreEos'
> & { stop?: string[] };

export function addSamplingOptions(command: Command): Command {
  return command
    .option('--max-new-tokens <n>', 'most tokens to generate (default: 128)', wholeNumber(1))
    .option('--temperature <t>', '0 takes the likeliest token (default)', numberFrom(0))
    .option('--top-k <k>', 'sample among the k likeliest tokens', wholeNumber(0))
    .option('--top-p <p>', 'sample among the likeliest tokens that have this probability', share)
    .option('--min-p <p>', 'sample among tokens at least this likely against the likeliest', share)
    .option('--repetition-penalty <x>', 'above 1: repeat less', numberFrom(0))
    .option('--seed <n>', 'makes sampling reproducible', seed)
    .option('--stop <text>', 'end before this text; may be repeated', collect)
    .option('--ignore-eos', "go on after the model's end-of-text token");
}

const share = numberFrom(0, 1);

/** The sampling options that were given, and nothing else of the command's. */
export function samplingOptions(options: SamplingOptions): GenerationOptions {
  const { maxNewTokens, temperature, topK, topP, minP, repetitionPenalty, seed, stop, ignoreEos } =
    options;
  const all = {
    maxNewTokens,
    temperature,
    topK,
    topP,
    minP,
    repetitionPenalty,
    seed,
    stop,
    ignoreEos,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}
