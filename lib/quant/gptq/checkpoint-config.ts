import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError, UnsupportedError } from '../../errors';
import { GPTQ_BITS, type GptqBits } from '../../ops';
import { formatOf } from './checkpoint-format';
import type { ZeroFormat } from './pack';

/** What can differ from layer to layer (`dynamic`). */
export interface GptqLayerConfig {
  bits: GptqBits;
  /** Input columns per scale; -1 stands for all. */
  groupSize: number;
  sym: boolean;
}

const flag = z.boolean().nullish();
const layerKeys = {
  bits: z.int().optional(),
  group_size: z.int().optional(),
  sym: flag,
};
const schema = z.looseObject({
  ...layerKeys,
  w_bit: z.int().optional(),
  q_group_size: z.int().optional(),
  desc_act: flag,
  quant_method: z.string().nullish(),
  method: z.string().nullish(),
  checkpoint_format: z.string().nullish(),
  format: z.string().nullish(),
  is_marlin_format: flag,
  pack_dtype: z.string().nullish(),
  rotation: z.unknown().optional(),
  dynamic: z.record(z.string(), z.looseObject(layerKeys)).nullish(),
  meta: z.looseObject({ quantizer: z.unknown().optional() }).nullish(),
});

interface Override {
  pattern: RegExp;
  skip: boolean;
  layer: Partial<GptqLayerConfig>;
}

/** What a GPTQ checkpoint says about itself, under the names of AutoGPTQ, GPTQModel and optimum. */
export class GptqCheckpointConfig {
  readonly layer: GptqLayerConfig;
  readonly zeroFormat: ZeroFormat;
  /** Whether 3-bit codes are in bit planes (`gptq_p`). */
  readonly planar: boolean;
  /** Whether zero points may be elsewhere than in the middle; also where nothing is said of it. */
  readonly #maybeAsymmetric: boolean;
  /** Whether the file was written by a program that gets a v1 zero point of 0 right. */
  readonly #trusted: boolean;
  readonly #overrides: readonly Override[];
  readonly #raw: JsonObject;

  /**
   * @param raw contents of quantize_config.json, or `quantization_config` of config.json
   * @throws CheckpointError for a wrong value, UnsupportedError for another format or width
   */
  constructor(raw: JsonObject) {
    const parsed = schema.safeParse(raw);
    if (!parsed.success) {
      const reason = z.prettifyError(parsed.error).replaceAll('\n', ' ');
      throw new CheckpointError(`the GPTQ configuration of the checkpoint is wrong: ${reason}`);
    }
    const fields = parsed.data;
    const { zeroFormat, planar } = formatOf(fields);
    this.zeroFormat = zeroFormat;
    this.planar = planar;
    this.#raw = raw;
    this.layer = {
      bits: widthOf(fields.bits ?? fields.w_bit),
      groupSize: groupSizeOf(fields.group_size ?? fields.q_group_size ?? -1),
      sym: fields.sym ?? true,
    };
    this.#maybeAsymmetric = fields.sym !== true;
    this.#trusted = [fields.meta?.quantizer].flat().some(isTrusted);
    this.#overrides = Object.entries(fields.dynamic ?? {}).map(([key, own]) =>
      overrideOf(key, own),
    );
  }

  /** The settings of a layer: the checkpoint's, or those of the first `dynamic` entry for it. */
  layerConfig(name: string): GptqLayerConfig {
    const override = this.#overrides.find(({ pattern }) => pattern.test(name));
    return { ...this.layer, ...override?.layer };
  }

  /** Whether `dynamic` leaves a layer in full precision. */
  skips(name: string): boolean {
    return this.#overrides.find(({ pattern }) => pattern.test(name))?.skip ?? false;
  }

  /** Whether programs may disagree about the stored zero points of a layer that are 0. */
  hasDoubtfulZeros(name: string): boolean {
    if (this.zeroFormat !== 'gptq' || this.#trusted) return false;
    const override = this.#overrides.find(({ pattern }) => pattern.test(name));
    return override?.layer.sym === undefined ? this.#maybeAsymmetric : !override.layer.sym;
  }

  /**
   * How zero points are saved: symmetric ones as v1, which every program reads, others as v2,
   * since programs disagree about a v1 zero point of 0.
   */
  get savedZeroFormat(): ZeroFormat {
    const symmetric = this.#overrides.every(({ layer }) => layer.sym ?? this.layer.sym);
    return symmetric && this.layer.sym ? 'gptq' : 'gptq_v2';
  }

  /** The configuration for what is saved. */
  diskConfig(): JsonObject {
    const { w_bit: _, q_group_size: __, is_marlin_format: ___, ...kept } = this.#raw;
    const { bits, groupSize, sym } = this.layer;
    const format = this.savedZeroFormat;
    return {
      ...kept,
      quant_method: 'gptq',
      bits,
      group_size: groupSize,
      sym,
      checkpoint_format: format,
      ...('format' in kept ? { format } : {}),
    };
  }
}

/** GPTQModel reads and writes asymmetric v1 checkpoints alike since 0.9.0. */
function isTrusted(quantizer: unknown): boolean {
  const [, major, minor] = /^gptqmodel:(\d+)\.(\d+)/.exec(String(quantizer)) ?? [];
  return Number(major) > 0 || Number(minor) >= 9;
}

function widthOf(bits: number | undefined): GptqBits {
  const width = GPTQ_BITS.find((known) => known === bits);
  if (width === undefined) {
    const found = bits === undefined ? 'no width' : `${bits} bits`;
    throw new UnsupportedError(
      `the GPTQ configuration says ${found}; supported: ${GPTQ_BITS.join(', ')} bits`,
    );
  }
  return width;
}

function groupSizeOf(size: number): number {
  if (size === -1 || size > 0) return size;
  throw new CheckpointError(`group_size ${size} is neither positive nor -1 (the whole row)`);
}

/**
 * An entry of `dynamic`. `-:` before the pattern leaves layers in full precision, which their tensors
 * show; `+:` or nothing overrides.
 */
function overrideOf(key: string, own: z.output<z.ZodObject<typeof layerKeys>>): Override {
  const [, source = ''] = /^(?:[+-]:)?(.*)$/s.exec(key) ?? [];
  const layer: Partial<GptqLayerConfig> = {};
  if (own.bits !== undefined) layer.bits = widthOf(own.bits);
  if (own.group_size !== undefined) layer.groupSize = groupSizeOf(own.group_size);
  if (typeof own.sym === 'boolean') layer.sym = own.sym;
  try {
    // As Python's re.match: from the beginning of the name, not to its end.
    return { pattern: new RegExp(`^(?:${source})`), skip: key.startsWith('-:'), layer };
  } catch (cause) {
    throw new CheckpointError(`the pattern '${key}' of 'dynamic' is no regular expression`, {
      cause,
    });
  }
}
