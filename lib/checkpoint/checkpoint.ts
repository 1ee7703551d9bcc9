import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { CheckpointError } from '../errors';
import type { ModelConfig } from './config';
import { parseConfig } from './config';
import type { GenerationConfig } from './generation-config';
import { parseGenerationConfig } from './generation-config';
import type { JsonObject } from './json';
import { readJsonObject } from './json';
import { readQuantizationConfig } from './quantization-config';
import type { SafetensorsFile } from './safetensors';
import type { TensorInfo } from './tensor-info';
import { openWeights } from './weights';

interface CheckpointParts {
  readonly folder: string;
  readonly config: ModelConfig;
  /** config.json as it is on disk. */
  readonly rawConfig: JsonObject;
  readonly generationConfig: GenerationConfig;
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;
}

/** A model folder: its configuration and where its tensors lie. Nothing is held open. */
export class Checkpoint implements CheckpointParts {
  readonly folder: string;
  readonly config: ModelConfig;
  readonly rawConfig: JsonObject;
  readonly generationConfig: GenerationConfig;
  readonly files: readonly SafetensorsFile[];
  readonly tensors: ReadonlyMap<string, TensorInfo>;

  /** @internal Use `openCheckpoint`. */
  constructor(parts: CheckpointParts) {
    this.folder = parts.folder;
    this.config = parts.config;
    this.rawConfig = parts.rawConfig;
    this.generationConfig = parts.generationConfig;
    this.files = parts.files;
    this.tensors = parts.tensors;
  }

  /** Bytes of all tensors on disk. */
  get tensorBytes(): number {
    let bytes = 0;
    for (const { byteLength } of this.tensors.values()) bytes += byteLength;
    return bytes;
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  /** @throws CheckpointError when there is no such tensor, naming the nearest ones */
  tensor(name: string): TensorInfo {
    const info = this.tensors.get(name);
    if (info) return info;
    const similar = similarNames(name, [...this.tensors.keys()]);
    const hint = similar.length > 0 ? ` It holds ${similar.join(', ')}.` : '';
    throw new CheckpointError(`${this.folder} holds no tensor ${JSON.stringify(name)}.${hint}`);
  }
}

/**
 * Opens a model folder: reads config.json, generation_config.json and the headers of its
 * safetensors files. Token ids of generation_config.json take precedence, as in transformers.
 * @throws CheckpointError, UnsupportedError
 */
export async function openCheckpoint(folder: string): Promise<Checkpoint> {
  const configPath = join(folder, 'config.json');
  const rawConfig = await readJsonObject(configPath);
  const generationConfig = await readGenerationConfig(folder);
  const parsed = parseConfig(rawConfig, configPath);
  const quantization = await readQuantizationConfig(folder, parsed.quantization);
  const config = {
    ...parsed,
    ...definedTokenIds(generationConfig),
    ...(quantization ? { quantization } : {}),
  };
  const weights = await openWeights(folder);
  return new Checkpoint({ folder, config, rawConfig, generationConfig, ...weights });
}

async function readGenerationConfig(folder: string): Promise<GenerationConfig> {
  const path = join(folder, 'generation_config.json');
  try {
    await access(path);
  } catch {
    return {};
  }
  return parseGenerationConfig(await readJsonObject(path), path);
}

function definedTokenIds(config: GenerationConfig): GenerationConfig {
  const { bosTokenId, eosTokenIds, padTokenId } = config;
  const entries = Object.entries({ bosTokenId, eosTokenIds, padTokenId });
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

/** Up to five names that share the longest dotted ending, else the longest beginning. */
function similarNames(name: string, names: readonly string[]): string[] {
  const parts = name.split('.');
  for (let from = 0; from < parts.length; from++) {
    const ending = parts.slice(from).join('.');
    const found = names.filter((other) => other.endsWith(ending));
    if (found.length > 0 && found.length < names.length / 2) return found.slice(0, 5);
  }
  return names.slice(0, 5);
}
