import * as z from 'zod';
import { OptionsError } from '../../errors';

const settings = z.strictObject({
  method: z.literal('bitnet').optional(),
  skipModules: z.array(z.string().min(1)).optional(),
  lmHead: z.enum(['16-bit', 'int8']).optional(),
});

/** The plain-object form of `BitnetConfig`. */
export type BitnetOptions = z.input<typeof settings>;

/**
 * BitNet b1.58 (arXiv 2402.17764): ternary weights with one scale per matrix, activations in int8
 * with one per row. For checkpoints that were trained so; others lose most of what they know.
 */
export class BitnetConfig {
  readonly method = 'bitnet';
  /** Layers left in full precision: full names, or dotted parts of them such as `q_proj`. */
  readonly skipModules: readonly string[];
  /**
   * The output projection: `16-bit` (the default, as trained), or `int8` with a scale per row and
   * per input, which halves the bytes that a token reads of it. A tied embedding is then int8 too.
   * Costs 0.04% in perplexity on `sample-bitnet` (head alone: 0.01%).
   */
  readonly lmHead: '16-bit' | 'int8';

  /** @throws OptionsError naming the option that is wrong */
  constructor(options: BitnetOptions = {}) {
    const parsed = settings.safeParse(options);
    if (!parsed.success) {
      throw new OptionsError(`bitnet: ${z.prettifyError(parsed.error).replaceAll('\n', ' ')}`);
    }
    this.skipModules = parsed.data.skipModules ?? [];
    this.lmHead = parsed.data.lmHead ?? '16-bit';
  }
}
