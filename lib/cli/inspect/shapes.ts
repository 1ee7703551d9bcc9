import { existsSync } from 'node:fs';
import { type Checkpoint, openCheckpoint } from '../../checkpoint/checkpoint';
import type { ModelConfig } from '../../checkpoint/config';
import { PRESET_NAMES, presetConfig } from '../../checkpoint/presets';
import { Device } from '../../device';
import { CheckpointSource, RandomSource } from '../../models/sources';
import { Transformer } from '../../models/transformer';
import type { WeightSource } from '../../nn/weight-source';
import { openSource } from '../../pretrained/auto';
import { quantizationMethods } from '../../quant';
import type { Context } from '../context';
import { findModel } from '../open-model';
import type { ModelOptions } from '../options/model-options';

/** A model of which only shapes are known: no weight has been read. */
export interface ModelShapes {
  config: ModelConfig;
  /** Absent for a preset. */
  checkpoint?: Checkpoint;
  transformer: Transformer;
  source: WeightSource;
  [Symbol.dispose](): void;
}

/** Whether a name means one of the built-in shapes, and not a folder. */
export function isPreset(name: string): boolean {
  return (PRESET_NAMES as readonly string[]).includes(name) && !existsSync(name);
}

/** Builds the modules of a checkpoint or preset on a device, as they would be loaded. */
export async function openShapes(
  name: string,
  options: ModelOptions,
  context: Context,
): Promise<ModelShapes> {
  if (isPreset(name)) {
    const config = presetConfig(name);
    return build(config, new RandomSource(config.dtype ?? 'f16'), options);
  }
  const checkpoint = await openCheckpoint(await findModel(name, options, context));
  const source = await openSource(checkpoint);
  return { ...build(checkpoint.config, source, options), checkpoint };
}

function build(
  config: ModelConfig,
  source: CheckpointSource | RandomSource,
  { device: deviceName, quantization, threads }: ModelOptions,
): ModelShapes {
  const methods = quantizationMethods(quantization, config.quantization);
  const device = Device.open(deviceName, threads !== undefined ? { threads } : {});
  const dispose = (): void => {
    if (source instanceof CheckpointSource) source.dispose();
    device.dispose();
  };
  try {
    const transformer = new Transformer({ device, config, source, methods });
    return {
      config,
      transformer,
      source,
      [Symbol.dispose]() {
        transformer.dispose();
        dispose();
      },
    };
  } catch (error) {
    dispose();
    throw error;
  }
}
