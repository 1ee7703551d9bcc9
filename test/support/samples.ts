import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { sampleFolder } from './golden';

/** The small trained checkpoints of `samples/`. */
export const SAMPLE_NAMES = ['sample-llama', 'sample-opt'] as const;

export const HELDOUT_IDS = join(sampleFolder('text'), 'heldout-ids.u16');
export const HELDOUT_TEXT = join(sampleFolder('text'), 'heldout.txt');

/** All held-out ids: 64 windows of 512. */
export function heldoutIds(): Uint16Array {
  const bytes = readFileSync(HELDOUT_IDS);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => bytes.readUInt16LE(2 * i));
}
