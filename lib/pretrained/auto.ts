import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type Checkpoint, openCheckpoint } from '../checkpoint/checkpoint';
import { parseConfig } from '../checkpoint/config';
import { type HubOptions, resolveModel } from '../checkpoint/hub';
import { presetConfig } from '../checkpoint/presets';
import { openSafetensors } from '../checkpoint/safetensors';
import { Device, type DeviceName, type DeviceOptions } from '../device';
import type { EngineOptions } from '../engine';
import { FewbitError } from '../errors';
import { CheckpointSource, RandomSource } from '../models/sources';
import { Transformer } from '../models/transformer';
import { type QuantizationConfig, quantizationMethods } from '../quant';
import { CausalLanguageModel } from './model';
import { OUTLIER_COLUMNS_FILE } from './save';

/** What loading reports: bytes of one file (download) or of all weights (load). */
export interface ModelProgress {
  phase: 'download' | 'load';
  file?: string;
  loaded: number;
  total: number;
}

export interface FromConfigOptions extends DeviceOptions, EngineOptions {
  /** Default `auto`: the first CUDA device that works, else the CPU. */
  device?: DeviceName;
  /** Quantizes full-precision layers on load; for a quantized checkpoint, how to run it. */
  quantization?: QuantizationConfig;
  /** Dtype of hidden states on CUDA; default the checkpoint's, or f16. */
  dtype?: 'f16' | 'bf16';
  signal?: AbortSignal;
  onProgress?: (progress: ModelProgress) => void;
}

export interface FromPretrainedOptions
  extends FromConfigOptions,
    Omit<HubOptions, 'onProgress' | 'signal'> {}

/** Loads language models of any supported architecture and method. */
export const AutoModelForCausalLM = {
  /**
   * @param nameOrFolder a folder, or the id of a model on the Hugging Face hub (looked up in the
   * standard cache first)
   * @throws CheckpointError, UnsupportedError, OptionsError, or FewbitError `ERR_FEWBIT_DEVICE` and
   * `ERR_FEWBIT_OUT_OF_MEMORY`
   */
  async fromPretrained(
    nameOrFolder: string,
    options: FromPretrainedOptions = {},
  ): Promise<CausalLanguageModel> {
    const { onProgress } = options;
    const folder = await resolveModel(nameOrFolder, {
      ...options,
      onProgress: (progress) => onProgress?.({ phase: 'download', ...progress }),
    });
    const checkpoint = await openCheckpoint(folder);
    const source = await openSource(checkpoint);
    try {
      const transformer = await load(checkpoint.config, source, options);
      const { rawConfig } = checkpoint;
      return wrap(transformer, options, { folder, rawConfig });
    } finally {
      source.dispose();
    }
  },

  /**
   * A model with random weights, for benchmarks without a checkpoint.
   * @param config contents of a config.json, or the name of a preset such as `llama-2-7b`
   */
  async fromConfig(
    config: string | Readonly<Record<string, unknown>>,
    options: FromConfigOptions = {},
  ): Promise<CausalLanguageModel> {
    const parsed = typeof config === 'string' ? presetConfig(config) : parseConfig(config);
    const source = new RandomSource(options.dtype ?? parsed.dtype ?? 'f16', parsed.quantization);
    return wrap(await load(parsed, source, options), options);
  },
};

/** The weights of a checkpoint, with what an earlier save put beside them. */
export async function openSource(checkpoint: Checkpoint): Promise<CheckpointSource> {
  const beside = join(checkpoint.folder, OUTLIER_COLUMNS_FILE);
  const extra = existsSync(beside) ? (await openSafetensors(beside)).tensors.values() : [];
  return new CheckpointSource(checkpoint, extra);
}

async function load(
  config: ReturnType<typeof parseConfig>,
  source: CheckpointSource | RandomSource,
  options: FromConfigOptions,
): Promise<Transformer> {
  options.signal?.throwIfAborted();
  const methods = quantizationMethods(options.quantization, config.quantization);
  const device = Device.open(options.device, options);
  let transformer: Transformer | undefined;
  try {
    transformer = new Transformer({
      device,
      config,
      source,
      methods,
      dtype: options.dtype,
      maxPositions: options.maxContext ?? Math.min(config.maxPositionEmbeddings, 4096),
    });
    checkMemory(transformer);
    await transformer.load({
      ...(options.signal ? { signal: options.signal } : {}),
      onProgress: (progress) => options.onProgress?.({ phase: 'load', ...progress }),
    });
    return transformer;
  } catch (error) {
    transformer?.dispose();
    device.dispose();
    throw error;
  }
}

/** Refuses at once what would fail (or, on the CPU, bring the machine down) minutes later. */
function checkMemory({ bytes, device }: Transformer): void {
  const { free } = device.memory();
  if (bytes <= free) return;
  throw new FewbitError(
    'ERR_FEWBIT_OUT_OF_MEMORY',
    `the weights need ${bytes} bytes, but ${device.name} has only ${free} free: quantize on load, ` +
      'or choose a smaller model or another device',
  );
}

function wrap(
  transformer: Transformer,
  options: FromConfigOptions,
  origin?: { folder: string; rawConfig: Readonly<Record<string, unknown>> },
): CausalLanguageModel {
  const { maxBatch, maxContext, pageSize, pages, kvBytes, maxChunk, lookahead, kvBits, kvGrids } =
    options;
  const { config } = transformer;
  const sizes = {
    maxBatch,
    maxContext,
    pageSize,
    pages,
    kvBytes,
    maxChunk,
    lookahead,
    kvBits,
    kvGrids,
  };
  const given = Object.entries(sizes).filter(([, value]) => value !== undefined);
  const eosTokenIds = options.eosTokenIds ?? config.eosTokenIds;
  return new CausalLanguageModel({
    transformer,
    methods: quantizationMethods(options.quantization, config.quantization),
    engine: { ...Object.fromEntries(given), eosTokenIds },
    ...(origin ? { origin } : {}),
  });
}
