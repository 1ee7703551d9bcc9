import { createHash } from 'node:crypto';
import { createReadStream, existsSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import type { Checkpoint } from '../../checkpoint/checkpoint';
import { isJsonObject, type JsonObject, readJsonObject } from '../../checkpoint/json';
import { openSafetensors, type SafetensorsFile } from '../../checkpoint/safetensors';
import { writeSafetensors } from '../../checkpoint/safetensors-writer';
import { CheckpointError, OptionsError } from '../../errors';
import type { StoredTensor } from '../../nn/module';
import { replaceFile, withProgress } from '../save';
import type { Stage } from './plan';
import type { LayerReport } from './progress';

/** Holds what is finished until the whole model is. */
const FOLDER = '.fewbit-quantize';
const STATE = 'state.json';
/** Beside the finished model: how it was made. */
export const LOG_FILE = 'quantize_log.json';
/** Of each weight file. */
const DIGESTED_BYTES = 2 ** 16;
const REPORT = 'fewbit_layers';

/** What a quantization is made from; a folder holds the result of one of these. */
export interface Identity extends JsonObject {
  /** Changes when the same settings would give other files. */
  version: number;
  /** Digest of the model's files, as far as that is quick to tell. */
  model: string;
  config: JsonObject;
  /** Digest of the calibration windows; null without. */
  windows: string | null;
}

/** A stage that is on disk. */
export interface FinishedStage {
  file: SafetensorsFile;
  layers: LayerReport[];
}

/**
 * The finished stages of a quantization in a folder of its own inside the folder of the result. A
 * stage appears under its name only when it is complete, so that a process may end at any time.
 */
export class WorkFolder {
  readonly #path: string;

  private constructor(path: string) {
    this.#path = path;
  }

  /**
   * @param out folder of the result
   * @param options.restart drop what is there
   * @throws OptionsError when it holds the stages of another quantization
   */
  static async open(
    out: string,
    identity: Identity,
    { restart }: { restart: boolean },
  ): Promise<WorkFolder> {
    const path = join(out, FOLDER);
    const state = join(path, STATE);
    if (restart) await rm(path, { recursive: true, force: true });
    if (existsSync(state)) refuseOther(await readJsonObject(state), identity, out, 'an unfinished');
    try {
      await mkdir(path, { recursive: true });
      if (!existsSync(state)) await replaceFile(state, identity);
    } catch (cause) {
      throw new CheckpointError(`${out} cannot be written: ${(cause as Error).message}`, { cause });
    }
    return new WorkFolder(path);
  }

  async finished(stage: Stage): Promise<FinishedStage | undefined> {
    const path = this.#file(stage);
    if (!existsSync(path)) return undefined;
    const file = await openSafetensors(path);
    return { file, layers: JSON.parse(file.metadata.get(REPORT) ?? '[]') as LayerReport[] };
  }

  async write(
    stage: Stage,
    tensors: StoredTensor[],
    layers: LayerReport[],
  ): Promise<FinishedStage> {
    const metadata = { format: 'pt', [REPORT]: JSON.stringify(layers) };
    await writeSafetensors(this.#file(stage), withProgress(tensors, undefined), metadata);
    return (await this.finished(stage)) as FinishedStage;
  }

  /** A folder in it that holds nothing, for what is put together at the end. */
  async emptyFolder(name: string): Promise<string> {
    const path = join(this.#path, name);
    await rm(path, { recursive: true, force: true });
    await mkdir(path);
    return path;
  }

  async remove(): Promise<void> {
    await rm(this.#path, { recursive: true, force: true });
  }

  #file({ layer }: Stage): string {
    return join(this.#path, `${layer === 'head' ? layer : `layer-${layer}`}.safetensors`);
  }
}

/** The log of a finished quantization in a folder; undefined where there is none. */
export async function readLog(out: string): Promise<JsonObject | undefined> {
  const path = join(out, LOG_FILE);
  return existsSync(path) ? readJsonObject(path) : undefined;
}

/**
 * Throws unless a folder's state or log is of the same quantization.
 * @param what it holds, for the message
 * @throws OptionsError naming what differs
 */
export function refuseOther(
  found: JsonObject,
  identity: Identity,
  out: string,
  what: string,
): void {
  const differing = differences(found, identity);
  if (differing.length === 0) return;
  throw new OptionsError(
    `${out} holds ${what} quantization with ${differing.join(', ')}: give the same settings to go ` +
      'on with it, choose another folder, or start again there with restart (--restart)',
  );
}

function differences(found: JsonObject, wanted: Identity): string[] {
  const text: Record<string, string> = {
    version: 'another version of fewbit',
    model: 'another model',
    windows: 'other calibration data',
  };
  return Object.keys(wanted).flatMap((key): string[] => {
    if (isDeepStrictEqual(found[key], wanted[key])) return [];
    if (key !== 'config') return [text[key] as string];
    const other = isJsonObject(found.config) ? found.config : {};
    return Object.entries(wanted.config)
      .filter(([name, value]) => !isDeepStrictEqual(other[name], value))
      .map(
        ([name, value]) =>
          `${name} ${JSON.stringify(other[name])} instead of ${JSON.stringify(value)}`,
      );
  });
}

/**
 * Digest of a model's configuration, of the names, places and sizes of its tensors, and of the last
 * bytes of its files: quick to tell, and different for nearly all models that are.
 */
export async function modelDigest({ rawConfig, tensors, files }: Checkpoint): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(rawConfig));
  for (const { name, dtype, shape, offset } of tensors.values()) {
    hash.update(`\0${name} ${dtype} ${shape.join()} ${offset}`);
  }
  for (const { path, size } of files) {
    hash.update(`\0${size}`);
    const end = createReadStream(path, { start: Math.max(0, size - DIGESTED_BYTES) });
    for await (const chunk of end as AsyncIterable<Buffer>) hash.update(chunk);
  }
  return hash.digest('hex');
}

/** Digest of token windows. */
export function windowsDigest(windows: readonly (readonly number[])[]): string {
  const hash = createHash('sha256');
  for (const ids of windows) hash.update(Int32Array.of(ids.length, ...ids));
  return hash.digest('hex');
}
