import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { HubOptions } from '../checkpoint/hub';
import { resolveDatasetFile } from '../checkpoint/hub/dataset';
import type { Tokenizer } from '../checkpoint/tokenizer';
import { CheckpointError, OptionsError } from '../errors';
import { NAMED_DATASETS, type NamedDataset } from './named-datasets';
import { PythonRandom } from './python-random';
import { readLines, readTexts, textOfLine } from './text-file';
import { type SampleOptions, windowsOfDocuments, windowsOfStream } from './windows';

/**
 * Text to calibrate with: `wikitext2`, `c4` or `ptb` (fetched from the hub), the path of a text file
 * (.txt, or .jsonl, .json and .parquet with a field `text`), or windows of token ids.
 */
export type CalibrationData = string | readonly ArrayLike<number>[];

export interface CalibrationOptions extends SampleOptions, HubOptions {
  /** Of the generator that draws the windows, Python's. */
  seed: number | bigint;
}

export interface CalibrationWindows {
  windows: number[][];
  tokens: number;
}

/** Between texts that are put together. */
const SEPARATOR = '\n\n';
const FIELD = 'text';
/** Of longer texts, only pieces are encoded. */
const MOST_CHARACTERS = 32e6;
/** Enough characters for one token of nearly any text. */
const CHARACTERS_PER_TOKEN = 8;

/**
 * Windows of token ids from a calibration text: `samples` of `seqlen` ids each, or what there is
 * when the text is shorter. The same seed gives the same windows.
 * @throws OptionsError for a data set that is neither a known name nor a file, or is empty;
 * CheckpointError for a file that cannot be read; HubError
 */
export async function calibrationWindows(
  data: CalibrationData,
  tokenizer: () => Promise<Pick<Tokenizer, 'encode'>>,
  options: CalibrationOptions,
): Promise<CalibrationWindows> {
  const windows =
    typeof data === 'string'
      ? await textWindows(data, await tokenizer(), options)
      : data.map((ids) => Array.from(ids)).filter(({ length }) => length > 0);
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  if (tokens === 0) throw new OptionsError('the calibration data hold no windows of token ids');
  return { windows, tokens };
}

async function textWindows(
  data: string,
  tokenizer: Pick<Tokenizer, 'encode'>,
  options: CalibrationOptions,
): Promise<number[][]> {
  const random = new PythonRandom(options.seed);
  const named = Object.hasOwn(NAMED_DATASETS, data) ? NAMED_DATASETS[data] : undefined;
  if (!named && !existsSync(data)) {
    const names = Object.keys(NAMED_DATASETS).join(', ');
    throw new OptionsError(`dataset '${data}' is neither a file nor one of ${names}`);
  }
  const { revision: _, ...hub } = options;
  const path = named ? await resolveDatasetFile(named.file, hub) : data;
  if (named?.kind === 'documents') return drawDocuments(named, path, tokenizer, options, random);
  const texts = await readTexts(path, named?.field ?? FIELD);
  const text = shortened(texts.join(SEPARATOR), options, random);
  return windowsOfStream(tokenizer.encode(text), options, random);
}

/** Random pieces of a text that is too long to encode as a whole. */
function shortened(text: string, { samples, seqlen }: SampleOptions, random: PythonRandom): string {
  const length = CHARACTERS_PER_TOKEN * seqlen;
  if (text.length <= Math.max(MOST_CHARACTERS, 2 * samples * length)) return text;
  const pieces = Array.from({ length: samples }, () => {
    const begin = random.integer(0, text.length - length);
    return text.slice(begin, begin + length);
  });
  return pieces.join(SEPARATOR);
}

async function drawDocuments(
  { field, file }: NamedDataset,
  path: string,
  tokenizer: Pick<Tokenizer, 'encode'>,
  options: SampleOptions,
  random: PythonRandom,
): Promise<number[][]> {
  const lines: (Buffer | undefined)[] = [];
  for await (const line of readLines(path)) {
    // A token is at least a byte, but for those around a text.
    lines.push(line.length >= options.seqlen ? line : undefined);
  }
  const documents = {
    count: lines.length,
    encode: (index: number) => {
      const line = lines[index];
      return line && tokenizer.encode(textOfLine(line, field, path));
    },
  };
  const windows = windowsOfDocuments(documents, options, random);
  if (windows.length > 0) return windows;
  throw new CheckpointError(
    `no document of ${join(file.repo, file.path)} has more than ${options.seqlen} tokens: choose a ` +
      'smaller seqlen',
  );
}
