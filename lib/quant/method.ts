import type { JsonObject } from '../checkpoint/json';
import type { CacheWidths } from '../nn/attention';
import type { LinearModule, LinearSpec } from '../nn/linear-module';
import type { ModuleContext } from '../nn/module';

/**
 * One quantization method. Each lives in a folder of its own beside this file, which says how a
 * layer is recognised on disk, quantized from full precision, run and written back.
 */
export interface QuantizationMethod {
  readonly method: string;
  /** Whether the checkpoint holds this layer in the method's own format, by the tensors present. */
  isStored(context: ModuleContext, name: string): boolean;
  /** Whether a full-precision layer is to be quantized on load. */
  quantizes(name: string, role: LinearRole): boolean;
  create(context: ModuleContext, spec: LinearSpec): LinearModule;
  /** The widths of a cache whose grids are in the checkpoint. */
  readonly cache?: CacheWidths | undefined;
  /** What `config.json` says under `quantization_config` when such layers are saved. */
  diskConfig(): JsonObject;
}

/** `head`: the output projection to the vocabulary. */
export type LinearRole = 'layer' | 'head';

/** Whether a layer is named by one of the patterns: its full name, or a dotted part of it. */
export function isNamed(name: string, patterns: readonly string[]): boolean {
  return patterns.some((pattern) => `.${name}.`.includes(`.${pattern}.`));
}
