import { perplexity } from '../../eval/perplexity';
import type { CausalLanguageModel } from '../../pretrained/model';
import type { QuantizationConfig } from '../../quant';

/** A way to hold and multiply the weights, as the demo compares them. */
export interface Contender {
  name: string;
  quantization?: QuantizationConfig;
}

export const CONTENDERS = {
  bits16: { name: '16-bit' },
  plainInt8: {
    name: 'int8 without decomposition',
    quantization: { method: 'llm.int8', threshold: 0 },
  },
  llmInt8: { name: 'LLM.int8()', quantization: { method: 'llm.int8' } },
} as const satisfies Record<string, Contender>;

export interface Measurement {
  /** Bytes of all weights as they are held. */
  weightBytes: number;
  /** Of the linear layers, scales included, without the head. */
  bitsPerWeight: number;
  perplexity: number;
  tokens: number;
  /** Share of the values multiplied by quantized layers that went through int8; 0 without any. */
  int8Share: number;
}

export interface MeasureOptions {
  window: number;
  /** Windows to evaluate. */
  limit: number;
  signal: AbortSignal;
  onProgress(done: number, total: number): void;
}

/** Measures a loaded model on held-out ids. */
export async function measure(
  model: CausalLanguageModel,
  ids: ArrayLike<number>,
  { window, limit, signal, onProgress }: MeasureOptions,
): Promise<Measurement> {
  const result = await perplexity(model, ids, {
    window,
    limit,
    signal,
    onProgress: ({ windows, totalWindows }) => onProgress(windows, totalWindows),
  });
  return {
    weightBytes: model.transformer.bytes,
    bitsPerWeight: bitsPerWeight(model.transformer),
    perplexity: result.perplexity,
    tokens: result.tokens,
    int8Share: model.transformer.int8Share() ?? 0,
  };
}

function bitsPerWeight({ layers }: CausalLanguageModel['transformer']): number {
  const linear = layers.flat().filter((module) => module.method !== 'none');
  const total = (of: 'bytes' | 'parameters') => linear.reduce((sum, module) => sum + module[of], 0);
  return (8 * total('bytes')) / total('parameters');
}

/** The measurements of one model. */
export type Comparison = Record<keyof typeof CONTENDERS, Measurement>;
