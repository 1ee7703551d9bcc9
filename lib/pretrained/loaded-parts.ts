import type { EngineOptions } from '../engine';
import type { Transformer } from '../models/transformer';
import type { QuantizationMethod } from '../quant';

/** What belongs to a loaded model. @internal */
export interface LoadedParts {
  transformer: Transformer;
  methods: readonly QuantizationMethod[];
  engine: EngineOptions;
  /** Folder that the checkpoint came from, and its config.json; absent for random weights. */
  origin?: { folder: string; rawConfig: Readonly<Record<string, unknown>> };
}
