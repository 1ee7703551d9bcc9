import * as z from 'zod';
import type { JsonObject } from '../../checkpoint/json';
import { CheckpointError, UnsupportedError } from '../../errors';

const schema = z.object({
  linear_class: z.string().nullish(),
  quantization_mode: z.string().nullish(),
  modules_to_not_convert: z.array(z.string()).nullish(),
  use_rms_norm: z.boolean().nullish(),
  rms_norm_eps: z.number().positive().nullish(),
});

/** What `weight_scale` is in a packed checkpoint: a matrix's scale gamma, or 1 / gamma. */
export type ScaleMeaning = 'gamma' | 'inverse';

/** `quantization_config` of a BitNet checkpoint. */
export class BitnetCheckpointConfig {
  readonly scale: ScaleMeaning;
  /** The key, and its value, that says so: for errors. */
  readonly scaleKey: string;
  /** Layers in full precision besides the head. */
  readonly skipModules: readonly string[];
  /** Of a norm that every layer has of its own, before its activations are quantized. */
  readonly normEps: number | undefined;

  /** @throws CheckpointError for wrong values, UnsupportedError for what is not implemented */
  constructor(quantization: JsonObject) {
    const parsed = schema.safeParse(quantization);
    if (!parsed.success) {
      const reason = z.prettifyError(parsed.error).replaceAll('\n', ' ');
      throw new CheckpointError(`the BitNet configuration of the checkpoint is wrong: ${reason}`);
    }
    const { linear_class: linearClass, quantization_mode: mode, ...fields } = parsed.data;
    expectOneOf('linear_class', linearClass, ['bitlinear', 'autobitlinear']);
    expectOneOf('quantization_mode', mode, ['offline', 'online']);
    // Two classes of transformers with one file format, but for this.
    this.scale = linearClass === 'autobitlinear' ? 'gamma' : 'inverse';
    this.scaleKey = linearClass
      ? `quantization_config.linear_class '${linearClass}'`
      : "quantization_config without a linear_class (which stands for 'bitlinear')";
    this.skipModules = fields.modules_to_not_convert ?? [];
    this.normEps = fields.use_rms_norm ? (fields.rms_norm_eps ?? 1e-6) : undefined;
  }
}

function expectOneOf(
  key: string,
  found: string | null | undefined,
  supported: readonly string[],
): void {
  if (found == null || supported.includes(found)) return;
  throw new UnsupportedError(
    `quantization_config.${key} '${found}' is not supported; supported: ${supported.join(', ')}`,
  );
}
