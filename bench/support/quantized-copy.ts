import { type DeviceName, type QuantizeConfig, quantize } from 'fewbit';
import { withTemporaryFolder } from './temporary-folder';

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
  return withTemporaryFolder('accuracy', async (out) => {
    const { seconds } = await quantize(model, config, {
      ...('roundToNearest' in config && config.roundToNearest ? {} : calibration),
      out,
      device,
      onProgress(progress) {
        if (progress.phase === 'layer') onLayer(progress.done, progress.total);
      },
    });
    return use(out, seconds);
  });
}
