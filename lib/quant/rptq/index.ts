import type { JsonObject } from '../../checkpoint/json';
import type { CacheWidths } from '../../nn/attention';
import type { LinearModule, LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import type { QuantizationMethod } from '../method';
import { RptqCheckpointConfig } from './checkpoint-config';
import { LinearRptq } from './linear-rptq';

export { RptqCheckpointConfig, rptqDiskConfig } from './checkpoint-config';
export { RptqConfig, type RptqOptions } from './config';
export { LinearRptq } from './linear-rptq';
export { RPTQ_CONFIG_NAMES, RPTQ_CONFIGS, type RptqConfigName, type RptqWidths } from './widths';

/** RPTQ checkpoints (arXiv 2304.01089), which fewbit alone writes: no public format exists. */
export class RptqMethod implements QuantizationMethod {
  readonly method = 'rptq';
  readonly #config: RptqCheckpointConfig;

  /** @param quantization what config.json says */
  constructor(quantization: JsonObject) {
    this.#config = new RptqCheckpointConfig(quantization);
  }

  isStored({ source }: ModuleContext, name: string): boolean {
    return source.has(`${name}.qweight`);
  }

  /** Calibration takes more than one pass: see `fewbit quantize`. */
  quantizes(): boolean {
    return false;
  }

  create(context: ModuleContext, spec: LinearSpec): LinearModule {
    return new LinearRptq(context, spec, this.#config);
  }

  get cache(): CacheWidths | undefined {
    const { widths, calibratedLength } = this.#config;
    const { cache, query } = widths;
    if (cache === 16) return undefined;
    return {
      bits: cache,
      ...(query === 16 ? {} : { queryBits: query }),
      ...(calibratedLength === undefined ? {} : { calibratedLength }),
    };
  }

  diskConfig(): JsonObject {
    return this.#config.diskConfig();
  }
}
