import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Trained models and texts of the repository; they do not come with the package. */
export const SAMPLES = join(__dirname, '..', '..', '..', 'samples');
export const SAMPLE_TEXT = join(SAMPLES, 'text');
export const SAMPLE_MODELS = ['sample-opt', 'sample-llama'].map((name) => join(SAMPLES, name));

/** @throws Error naming what is not there */
export function checkSamples(used: readonly string[]): void {
  const missing = used.find((path) => path.startsWith(SAMPLES) && !existsSync(path));
  if (!missing) return;
  throw new Error(`${missing} is not there: name files with --model, --calibration and --ids`);
}

/** Token ids of a file of 16-bit words. */
export async function readIds(path: string): Promise<Uint16Array> {
  const bytes = await readFile(path);
  return Uint16Array.from({ length: bytes.length >> 1 }, (_, i) => bytes.readUInt16LE(2 * i));
}

/** What is being done, in place on a terminal. */
export function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

/** A change in percent, with its sign. */
export const signedPercent = (share: number): string =>
  `${share < 0 ? '' : '+'}${(100 * share).toFixed(2)}%`;
