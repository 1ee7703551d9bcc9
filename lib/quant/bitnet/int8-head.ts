import { LlmInt8Config, LlmInt8Method } from '../llm-int8';
import type { LinearRole } from '../method';

/**
 * The output projection in int8, a scale per row on both sides and no outlier columns: the final
 * norm leaves none that would need them.
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
}
