import { join } from 'node:path';
import type { DeviceName } from 'fewbit';
import type { Calibration } from './quantized-copy';
import { SAMPLE_MODELS, SAMPLE_TEXT } from './sample-files';

/** Token ids of a window that perplexity is taken of. */
export const WINDOW = 512;

/** Options of every benchmark of accuracy, for `parseOptions`. */
export const ACCURACY_OPTIONS = {
  model: { type: 'string', default: SAMPLE_MODELS.join(',') },
  calibration: { type: 'string', default: join(SAMPLE_TEXT, 'calibration.txt') },
  samples: { type: 'string', default: '128' },
  seqlen: { type: 'string', default: '512' },
  seed: { type: 'string', default: '0' },
  ids: { type: 'string', default: join(SAMPLE_TEXT, 'heldout-ids.u16') },
  windows: { type: 'string' },
  device: { type: 'string', default: 'auto' },
  json: { type: 'boolean', default: false },
} as const;

/** What those options say, in the terms of the library. */
export function accuracySetup(
  values: Record<'calibration' | 'samples' | 'seqlen' | 'seed' | 'device', string> & {
    windows?: string | undefined;
  },
): { device: DeviceName; limit: number | undefined; calibration: Calibration } {
  return {
    device: values.device as DeviceName,
    limit: values.windows === undefined ? undefined : Number(values.windows),
    calibration: {
      dataset: values.calibration,
      samples: Number(values.samples),
      seqlen: Number(values.seqlen),
      seed: Number(values.seed),
    },
  };
}
