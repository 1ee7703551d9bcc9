import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { OptionsError } from '../../errors';
import { GPTQ_BITS, type GptqBits, type GptqGrouping, type GptqOrdering } from '../../ops';

/** The authors' exponent of the clipping search. */
export const MSE_EXPONENT = 2.4;

const overrides = z.strictObject({
  bits: z.literal(GPTQ_BITS).optional(),
  group_size: z.union([z.literal(-1), z.int().min(1)]).optional(),
  sym: z.boolean().optional(),
});

const settings = z.strictObject({
  method: z.literal('gptq').optional(),
  bits: z.literal(GPTQ_BITS).optional(),
  groupSize: z.union([z.literal(-1), z.int().min(1)]).optional(),
  sym: z.boolean().optional(),
  descAct: z.boolean().optional(),
  staticGroups: z.boolean().optional(),
  actGroupAware: z.boolean().optional(),
  trueSequential: z.boolean().optional(),
  damp: z.number().min(0).max(1).optional(),
  mse: z.number().min(0).optional(),
  roundToNearest: z.boolean().optional(),
  lmHead: z.boolean().optional(),
  dynamic: z.record(z.string(), overrides).optional(),
});

/** The plain-object form of `GptqConfig`. */
export type GptqOptions = z.input<typeof settings>;

/** How GPTQ (arXiv 2210.17323) quantizes a model. */
export class GptqConfig {
  readonly method = 'gptq';
  readonly bits: GptqBits;
  /** Input columns per scale and zero point; -1 for all of a row. */
  readonly groupSize: number;
  /** Zero points in the middle of the codes. */
  readonly sym: boolean;
  /** Columns are quantized by falling activation, and groups follow that order (act-order). */
  readonly descAct: boolean;
  /** Scales are made from the weights as they were, so that act-order costs nothing at run time. */
  readonly staticGroups: boolean;
  /** Columns by falling activation within groups, and groups likewise; default unless `descAct`. */
  readonly actGroupAware: boolean;
  /** Each part of a block is calibrated with the parts before it quantized. */
  readonly trueSequential: boolean;
  /** Share of the Hessian's mean diagonal added to its diagonal; raised where it is too small. */
  readonly damp: number;
  /**
   * Exponent of the search for the best clipping: 2.4, the authors' own, unless given; 0 for none, the
   * default when only rounding to nearest. With `sym` it tries scales of both signs (with 2^b codes one
   * side has one more), as llama.cpp's Q4_0 does; those of 0 are all positive.
   */
  readonly mse: number;
  /** Rounds every weight to nearest, without calibration: the baseline. */
  readonly roundToNearest: boolean;
  /** Whether the output projection is quantized, too. */
  readonly lmHead: boolean;
  /** Settings of single layers by regular expression; `-:` before it leaves them in 16 bits. */
  readonly dynamic: Readonly<Record<string, z.output<typeof overrides>>>;

  /** @throws OptionsError naming the option that is wrong */
  constructor(options: GptqOptions = {}) {
    const parsed = settings.safeParse(options);
    if (!parsed.success) {
      throw new OptionsError(`gptq: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
    }
    const given = parsed.data;
    this.bits = given.bits ?? 4;
    this.groupSize = given.groupSize ?? 128;
    this.sym = given.sym ?? true;
    this.descAct = given.descAct ?? false;
    this.staticGroups = given.staticGroups ?? false;
    this.actGroupAware = given.actGroupAware ?? !(this.descAct || this.staticGroups);
    this.trueSequential = given.trueSequential ?? true;
    this.damp = given.damp ?? 0.01;
    this.roundToNearest = given.roundToNearest ?? false;
    // The baseline rounds on the plain grid, as what it is compared with elsewhere does.
    this.mse = given.mse ?? (this.roundToNearest ? 0 : MSE_EXPONENT);
    this.lmHead = given.lmHead ?? false;
    this.dynamic = given.dynamic ?? {};
    checkPatterns(this.dynamic);
    if (this.actGroupAware && (this.descAct || this.staticGroups)) {
      throw new OptionsError('gptq: actGroupAware excludes descAct and staticGroups');
    }
  }

  get ordering(): GptqOrdering {
    if (this.descAct) return 'descending';
    return this.actGroupAware ? 'within-groups' : 'none';
  }

  get grouping(): GptqGrouping {
    if (this.staticGroups) return 'static';
    return this.actGroupAware ? 'by-column' : 'by-position';
  }

  /** All settings, as plain values. */
  toJSON(): JsonObject {
    return Object.fromEntries(Object.entries(this));
  }

  /**
   * What quantize_config.json and config.json say about the model.
   * @param skipped names of more layers that stay in 16 bits
   */
  diskConfig(skipped: readonly string[] = []): JsonObject {
    const layers = [this, ...Object.values(this.dynamic)];
    const symmetric = layers.every(({ sym }) => sym ?? this.sym);
    const format = symmetric ? 'gptq' : 'gptq_v2';
    // First, since the first pattern that matches counts.
    const skips = skipped.map((name) => [`-:^${name.replaceAll('.', '\\.')}$`, {}] as const);
    const dynamic = { ...Object.fromEntries(skips), ...this.dynamic };
    return {
      bits: this.bits,
      group_size: this.groupSize,
      damp_percent: this.damp,
      desc_act: this.descAct,
      static_groups: this.staticGroups,
      act_group_aware: this.actGroupAware,
      sym: this.sym,
      true_sequential: this.trueSequential,
      lm_head: this.lmHead,
      quant_method: 'gptq',
      checkpoint_format: format,
      format,
      pack_dtype: 'int32',
      ...(Object.keys(dynamic).length > 0 ? { dynamic } : {}),
      meta: { quantizer: ['fewbit'] },
    };
  }
}

/** @throws OptionsError for a key of `dynamic` that is no regular expression */
function checkPatterns(dynamic: GptqConfig['dynamic']): void {
  for (const key of Object.keys(dynamic)) {
    try {
      new RegExp(key.replace(/^[+-]:/, ''));
    } catch (cause) {
      throw new OptionsError(`gptq: the pattern '${key}' of dynamic is no regular expression`, {
        cause,
      });
    }
  }
}
