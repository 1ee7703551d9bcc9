import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DeviceName, type QuantizeConfig, quantize } from 'fewbit';

/** What a quantizer is calibrated with. */
export interface Calibration {
  /** Path of a text, or a data set's name. */
  dataset: string;
  samples: number;
  seqlen: number;
  /** Of the random places that windows are taken from. */
  seed: number;
}

export interface CopyOptions {
  calibration: Calibration;
  device: DeviceName;
  /** Layers that are quantized, of all. */
  onLayer(done: number, total: number): void;
}

/** Quantizes a model into a temporary folder, which is there as long as `use` runs. */
export async function withQuantizedCopy<T>(
  model: string,
  config: QuantizeConfig,
  { calibration, device, onLayer }: CopyOptions,
  use: (folder: string, seconds: number) => Promise<T>,
): Promise<T> {
  const out = await mkdtemp(join(tmpdir(), 'fewbit-accuracy-'));
  try {
    const { seconds } = await quantize(model, config, {
      ...('roundToNearest' in config && config.roundToNearest ? {} : calibration),
      out,
      device,
      onProgress(progress) {
        if (progress.phase === 'layer') onLayer(progress.done, progress.total);
      },
    });
    return await use(out, seconds);
  } finally {
    await rm(out, { recursive: true, force: true });
  }
}
