import { join } from 'node:path';
import { type QuantizeConfig, quantize } from '../../pretrained/quantize';
import type { QuantizationConfig } from '../../quant';
import type { Context } from '../context';
import type { ModelOptions } from '../options/model-options';
import type { sampleFiles } from './files';

/** A model in one number of bits per weight. */
export interface Width {
  key: string;
  name: string;
  model: 'llama' | 'bitnet';
  /** Quantizes on load. */
  quantization?: QuantizationConfig;
  /** Writes a quantized copy first, after calibration. */
  calibrated?: Extract<QuantizeConfig, { method: 'gptq' }>;
}

/** From the widest to the narrowest; the last one is another model, trained to be so. */
export const WIDTHS: readonly Width[] = [
  { key: 'bits16', name: '16-bit', model: 'llama' },
  { key: 'llmInt8', name: 'LLM.int8()', model: 'llama', quantization: { method: 'llm.int8' } },
  ...([4, 2] as const).map((bits) => ({
    key: `gptq${bits}`,
    name: `GPTQ, ${bits} bits in groups of 64`,
    model: 'llama' as const,
    calibrated: { method: 'gptq' as const, bits, groupSize: 64 },
  })),
  {
    key: 'ternarized',
    name: 'made ternary after training',
    model: 'llama',
    quantization: { method: 'bitnet' },
  },
  { key: 'bitnet', name: 'BitNet b1.58, trained ternary', model: 'bitnet' },
];

/** Few enough that both quantizations together take seconds on two cores. */
const CALIBRATION = { samples: 16, seqlen: 512 };

/** The folder to load a row's model from, made in `temporary` where it needs calibration. */
export async function folderOf(
  { key, name, model, calibrated }: Width,
  files: ReturnType<typeof sampleFiles>,
  temporary: string,
  { device, threads }: ModelOptions,
  { output, signal }: Context,
): Promise<string> {
  if (!calibrated) return files[model];
  const out = join(temporary, key);
  await quantize(files[model], calibrated, {
    ...CALIBRATION,
    dataset: files.calibration,
    out,
    device,
    signal,
    ...(threads !== undefined ? { threads } : {}),
    onProgress(progress) {
      if (progress.phase !== 'layer') return;
      output.progress.update(`  ${name}`, progress.done, progress.total);
    },
  });
  return out;
}
