import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { OptionsError } from '../../errors';
import type { LlmInt8Mode } from '../../ops';

const settings = z.strictObject({
  method: z.literal('llm.int8').optional(),
  threshold: z.number().min(0).max(65504).optional(),
  mode: z.enum(['paper', 'bitsandbytes']).optional(),
  skipModules: z.array(z.string().min(1)).optional(),
  quantizeHead: z.boolean().optional(),
  keptColumns: z.enum(['auto', 'none']).optional(),
});

/** The plain-object form of `LlmInt8Config`. */
export type LlmInt8Options = z.input<typeof settings>;

/** LLM.int8() (arXiv 2208.07339): vector-wise int8 with a 16-bit path for outlier columns. */
export class LlmInt8Config {
  readonly method = 'llm.int8';
  /** Columns with a value of at least this size stay in 16 bits; 0 turns the split off. */
  readonly threshold: number;
  /**
   * `paper`: the row scale ignores outlier columns and the result is rounded once. `bitsandbytes`:
   * the scales, outlier weights and roundings of bitsandbytes' Linear8bitLt.
   */
  readonly mode: LlmInt8Mode;
  /** Layers left in full precision: full names, or dotted parts of them such as `q_proj`. */
  readonly skipModules: readonly string[];
  /** Also quantize the output projection. */
  readonly quantizeHead: boolean;
  /**
   * `auto`: when a layer is quantized in paper mode, columns of the weight that its int8 codes
   * represent badly are also kept in 16 bits, for the outlier path to use. `none`: never.
   */
  readonly keptColumns: 'auto' | 'none';
  /** The settings that were given, as opposed to defaults. @internal */
  readonly given: LlmInt8Options;

  /** @throws OptionsError naming the option that is wrong */
  constructor(options: LlmInt8Options = {}) {
    const parsed = settings.safeParse(options);
    if (!parsed.success) {
      throw new OptionsError(`llm.int8: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
    }
    this.given = parsed.data;
    this.threshold = parsed.data.threshold ?? 6;
    this.mode = parsed.data.mode ?? 'paper';
    this.skipModules = parsed.data.skipModules ?? [];
    this.quantizeHead = parsed.data.quantizeHead ?? false;
    this.keptColumns = parsed.data.keptColumns ?? 'auto';
  }

  /** The settings for a checkpoint that is already 8-bit: its own, with threshold and mode given. */
  static ofCheckpoint(quantization: JsonObject, given: LlmInt8Options = {}): LlmInt8Config {
    const stored = quantization.llm_int8_threshold;
    const skipped = quantization.llm_int8_skip_modules;
    return new LlmInt8Config({
      threshold: given.threshold ?? (typeof stored === 'number' ? stored : 6),
      mode: given.mode ?? 'paper',
      skipModules: Array.isArray(skipped) ? skipped.map(String) : [],
      // A list that leaves the head out means that it is quantized; no list, that it is not.
      quantizeHead: Array.isArray(skipped) && !skipped.includes('lm_head'),
    });
  }
}
