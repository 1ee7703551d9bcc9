import { copyFile, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { writeWeights } from '../checkpoint/checkpoint-writer';
import { floatKeys, formatJson } from '../checkpoint/json-writer';
import { type TensorSource, writeSafetensors } from '../checkpoint/safetensors-writer';
import { OptionsError, UnsupportedError } from '../errors';
import type { StoredTensor } from '../nn/module';
import { LinearInt8 } from '../quant/llm-int8';
import { elementsOf, sizeOf } from '../tensor';
import type { LoadedParts } from './loaded-parts';

/** 16-bit copies of weight columns, beside an 8-bit checkpoint; other programs can do without. */
export const OUTLIER_COLUMNS_FILE = 'fewbit_outlier_columns.safetensors';

/** Files that are copied from the model's folder as they are. */
const COPIED = [
  /^tokenizer.*\.json$/,
  /^tokenizer\.model$/,
  /^special_tokens_map\.json$/,
  /^added_tokens\.json$/,
  /^vocab\.json$/,
  /^merges\.txt$/,
  /^generation_config\.json$/,
  /^chat_template\.(jinja|json)$/,
];

export interface SaveOptions {
  /** Largest weight file in bytes; default 5 GB. */
  maxShardBytes?: number;
  /** Bytes of weights written so far, and of all. */
  onProgress?: (progress: { loaded: number; total: number }) => void;
}

/** @internal See `CausalLanguageModel.savePretrained`. */
export async function saveModel(
  { transformer, methods, origin }: LoadedParts,
  folder: string,
  { maxShardBytes, onProgress }: SaveOptions = {},
): Promise<void> {
  if (!origin) {
    throw new UnsupportedError('a model with random weights has nothing worth saving');
  }
  if (resolve(folder) === resolve(origin.folder)) {
    throw new OptionsError(`${folder} is the folder the model was loaded from: choose another one`);
  }
  await mkdir(folder, { recursive: true });
  const tensors = transformer.modules.flatMap((module) => module.stored());
  const sources = withProgress(tensors, onProgress);
  await writeWeights(folder, sources, maxShardBytes === undefined ? {} : { maxShardBytes });
  await saveOutlierColumns(folder, transformer.modules);

  const used = methods.find(({ method }) =>
    transformer.modules.some((module) => module.method === method),
  );
  const { quantization_config: _, ...config } = origin.rawConfig;
  const quantization = used ? { quantization_config: used.diskConfig() } : {};
  // A tied head that was quantized is a tensor of its own now.
  const untied = transformer.config.tieWordEmbeddings && tensors.some(isHead);
  const tie = untied ? { tie_word_embeddings: false } : {};
  const floats = floatKeys(await readFile(join(origin.folder, 'config.json'), 'utf8'));
  await replaceFile(join(folder, 'config.json'), { ...config, ...tie, ...quantization }, floats);
  await copyOthers(origin.folder, folder);
}

function isHead({ name }: StoredTensor): boolean {
  return name === 'lm_head.weight';
}

export function withProgress(
  tensors: readonly StoredTensor[],
  onProgress: SaveOptions['onProgress'],
): TensorSource[] {
  let loaded = 0;
  const bytesOf = ({ dtype, shape }: StoredTensor): number => elementsOf(shape) * sizeOf(dtype);
  const total = tensors.reduce((sum, tensor) => sum + bytesOf(tensor), 0);
  return tensors.map((tensor) => ({
    name: tensor.name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    data: async () => {
      const data = await tensor.read();
      loaded += data.byteLength;
      onProgress?.({ loaded, total });
      return data;
    },
  }));
}

async function saveOutlierColumns(
  folder: string,
  modules: LoadedParts['transformer']['modules'],
): Promise<void> {
  const layers = modules.filter((module) => module instanceof LinearInt8);
  const tensors = layers.flatMap((layer) => layer.storedColumns());
  const path = join(folder, OUTLIER_COLUMNS_FILE);
  if (tensors.length === 0) await rm(path, { force: true });
  else await writeSafetensors(path, withProgress(tensors, undefined), { format: 'fewbit' });
}

/** Writes JSON; see `formatJson` for `floats`. The file appears when it is complete. */
export async function replaceFile(
  path: string,
  content: unknown,
  floats?: Iterable<string>,
): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  await writeFile(temporary, formatJson(content, floats));
  await rename(temporary, path);
}

export async function copyOthers(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    if (!COPIED.some((pattern) => pattern.test(name))) continue;
    await copyFile(join(from, name), join(to, `${name}.tmp`));
    await rename(join(to, `${name}.tmp`), join(to, name));
  }
}
