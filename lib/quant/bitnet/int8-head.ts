import type { SharedTable } from '../../nn/embedding';
import type { LinearModule, LinearSpec } from '../../nn/linear-module';
import type { ModuleContext } from '../../nn/module';
import type { CodedTable } from '../../ops';
import { LinearInt8, LlmInt8Config, LlmInt8Method } from '../llm-int8';
import type { LinearRole } from '../method';

/**
 * The output projection in int8, a scale per row on both sides and no outlier columns: the final
 * norm leaves none that would need them. A tied embedding takes its rows from the same codes.
 */
export class Int8Head extends LlmInt8Method {
  readonly #wanted: boolean;

  /** @param wanted whether a 16-bit head is to be quantized; one that is stored in int8 is read */
  constructor(wanted: boolean) {
    super(new LlmInt8Config({ threshold: 0, keptColumns: 'none', quantizeHead: true }), wanted);
    this.#wanted = wanted;
  }

  override quantizes(_name: string, role: LinearRole): boolean {
    return this.#wanted && role === 'head';
  }

  override create(context: ModuleContext, spec: LinearSpec): LinearModule {
    return new LinearInt8Head(context, spec, this.config);
  }
}

class LinearInt8Head extends LinearInt8 implements SharedTable {
  #loaded = false;

  get sharedTable(): SharedTable {
    return this;
  }

  get table(): CodedTable {
    return { ...this.weight, width: this.spec.inFeatures };
  }

  /** Once, whichever of the two that share it is first. */
  override async load(): Promise<void> {
    if (this.#loaded) return;
    await super.load();
    this.#loaded = true;
  }

  override dispose(): void {
    this.#loaded = false;
    super.dispose();
  }
}
