import { randomInt } from 'node:crypto';
import { OptionsError } from '../errors';
import { numberWithin, tokenIds, wholeNumber } from './checks';

/** How one continuation is generated. Everything is optional; by default decoding is greedy. */
export interface GenerationOptions {
  /** Most tokens to generate; default 128. The end of the context may come first. */
  maxNewTokens?: number;
  /** 0 takes the likeliest token. Default 0, or 1 if `topK`, `topP` or `minP` is given. */
  temperature?: number;
  /** Sample among the k likeliest tokens; 0 (default): all. */
  topK?: number;
  /** Sample among the likeliest tokens that together have this probability; default 1: all. */
  topP?: number;
  /** Sample among tokens at least this many times as likely as the likeliest; default 0: all. */
  minP?: number;
  /** Above 1 makes tokens of the prompt and of the text so far less likely; default 1: off. */
  repetitionPenalty?: number;
  /** Same seed, same tokens, whatever else is in the batch. Default: a random one. */
  seed?: number | bigint;
  /** Ends the text before the first of these strings; needs a tokenizer. */
  stop?: string | string[];
  /** Further tokens that end the text; they are not part of it. */
  stopTokenIds?: number[];
  /** Goes on after the model's end-of-sequence token; default false. */
  ignoreEos?: boolean;
  /** Aborts the request; it then rejects with `signal.reason`. */
  signal?: AbortSignal;
}

/** `GenerationOptions` after validation, with every default filled in. */
export interface SamplingParams {
  readonly maxNewTokens: number;
  readonly temperature: number;
  readonly topK: number;
  readonly topP: number;
  readonly minP: number;
  readonly repetitionPenalty: number;
  readonly seed: number | bigint;
  readonly stop: readonly string[];
  readonly stopTokenIds: ReadonlySet<number>;
}

/** The range of `sample`'s counter-based generator: any 64-bit key. */
const SEED_MIN = -(2n ** 63n);
const SEED_MAX = 2n ** 64n - 1n;

/**
 * Validates options and fills in the defaults.
 * @param model `eosTokenIds` end the text unless `ignoreEos` is set
 * @throws OptionsError naming the option, its value and what is allowed
 */
export function samplingParams(
  options: GenerationOptions,
  model: { vocabSize: number; eosTokenIds: readonly number[] },
): SamplingParams {
  const { temperature, topK, topP, minP, repetitionPenalty, ignoreEos = false } = options;
  const filtered = topK !== undefined || topP !== undefined || minP !== undefined;
  if (typeof ignoreEos !== 'boolean') {
    throw new OptionsError(`ignoreEos must be true or false, got ${String(ignoreEos)}`);
  }
  if (options.signal !== undefined && typeof options.signal?.addEventListener !== 'function') {
    throw new OptionsError('signal must be an AbortSignal');
  }
  const stopTokenIds = tokenIds('stopTokenIds', options.stopTokenIds ?? [], model.vocabSize);
  return {
    maxNewTokens: wholeNumber('maxNewTokens', options.maxNewTokens ?? 128, 1, 2 ** 31 - 1),
    temperature: numberWithin('temperature', temperature ?? (filtered ? 1 : 0), 0, 1e6),
    topK: Math.min(wholeNumber('topK', topK ?? 0, 0, 2 ** 31 - 1), model.vocabSize),
    topP: positive('topP', numberWithin('topP', topP ?? 1, 0, 1)),
    minP: numberWithin('minP', minP ?? 0, 0, 1),
    repetitionPenalty: positive(
      'repetitionPenalty',
      numberWithin('repetitionPenalty', repetitionPenalty ?? 1, 0, 1e6),
    ),
    seed: checkSeed(options.seed ?? randomInt(2 ** 48 - 1)),
    stop: stopStrings(options.stop),
    stopTokenIds: new Set(ignoreEos ? stopTokenIds : [...stopTokenIds, ...model.eosTokenIds]),
  };
}

function positive(name: string, value: number): number {
  if (value === 0) throw new OptionsError(`${name} must be above 0, got 0`);
  return value;
}

function checkSeed(seed: number | bigint): number | bigint {
  const whole = typeof seed === 'bigint' || Number.isSafeInteger(seed);
  if (!whole || seed < SEED_MIN || seed > SEED_MAX) {
    throw new OptionsError(
      `seed must be a whole number below 2^53 or a 64-bit bigint, got ${String(seed)}`,
    );
  }
  return seed;
}

function stopStrings(stop: string | string[] | undefined): string[] {
  const list = stop === undefined ? [] : typeof stop === 'string' ? [stop] : stop;
  if (!Array.isArray(list) || !list.every((item) => typeof item === 'string' && item !== '')) {
    throw new OptionsError('stop must be a string or an array of strings, none of them empty');
  }
  return [...list];
}
