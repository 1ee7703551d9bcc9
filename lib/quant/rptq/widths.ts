import type { KvBits, QueryBits } from '../../ops';

/** Bits of what is quantized in a layer; 16 stands for not at all. */
export interface RptqWidths {
  /** Weights of the linear layers, but for the head's. */
  readonly weights: 16 | 4 | 3;
  /** Outputs of the norms: inputs of q, k and v (R1), of fc1 or gate and up (R4). */
  readonly norm: 16 | 8 | 4;
  /** Queries, as the scores read them (R2). */
  readonly query: 16 | QueryBits;
  /** Cached keys and values (R2, R3). */
  readonly cache: 16 | KvBits;
  /** Inputs of the output projection (R3) and of fc2 or down (R5). */
  readonly inner: 16 | 8 | 4;
}

/**
 * What the configurations of RPTQ (arXiv 2304.01089) quantize, as its reference implementation has
 * them: outputs of norms never have less than 8 bits, and those with KV in their name quantize no
 * activation but the cache. Attention probabilities stay in 16 bits, where the reference takes 8.
 */
export const RPTQ_CONFIGS = {
  W4A16: { weights: 4, norm: 16, query: 16, cache: 16, inner: 16 },
  W4A8: { weights: 4, norm: 8, query: 8, cache: 8, inner: 8 },
  W4A4: { weights: 4, norm: 8, query: 4, cache: 4, inner: 4 },
  W4A4KV: { weights: 4, norm: 16, query: 16, cache: 4, inner: 16 },
  W4A3KV: { weights: 4, norm: 16, query: 16, cache: 3, inner: 16 },
  W3A3KV: { weights: 3, norm: 16, query: 16, cache: 3, inner: 16 },
  'W16A16-KV4': { weights: 16, norm: 16, query: 16, cache: 4, inner: 16 },
  'W16A16-KV3': { weights: 16, norm: 16, query: 16, cache: 3, inner: 16 },
} as const satisfies Record<string, RptqWidths>;

export type RptqConfigName = keyof typeof RPTQ_CONFIGS;

export const RPTQ_CONFIG_NAMES = Object.keys(RPTQ_CONFIGS) as RptqConfigName[];
