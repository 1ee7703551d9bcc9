import type { OpCase } from '../../cases/op-case';
import { rounded } from '../half';
import { hostTensor } from '../host-tensor';
import { dtypeOf, type Outputs, type RunDTypes, roundingOf, trimmed } from '../run-case';
import { affineQuantize, affineRepack, linearAffine, normQuantize } from './affine';
import { attention, cacheAppend, decodeAttention } from './attention';
import {
  attentionQuantized,
  cacheAppendQuantized,
  decodeAttentionQuantized,
} from './attention-quantized';
import { bitLinear } from './bit-linear';
import {
  bitnetAbsmean,
  bitnetQuantize,
  bitnetRepack,
  bitnetTernarize,
  linearBitnet,
} from './bitnet';
import {
  add,
  cast,
  layerNorm,
  linear,
  relu2Mul,
  rmsNorm,
  scaleColumns,
  siluMul,
} from './elementwise';
import { gptqFactor, gptqHessian, gptqQuantize, gptqRepack, linearGptq } from './gptq';
import { int8ColumnError, int8Quantize, linearInt8 } from './int8';
import { keyRound } from './key-round';
import {
  decodeAdvance,
  embedding,
  fillRandom,
  gatherColumns,
  gatherRows,
  tokenNll,
} from './lookup';
import { sample } from './sample';
import type { Reference } from './types';

export const references: Readonly<Record<string, Reference>> = {
  add,
  affine_quantize: affineQuantize,
  affine_repack: affineRepack,
  attention,
  attention_quantized: attentionQuantized,
  bit_linear: bitLinear,
  bitnet_absmean: bitnetAbsmean,
  bitnet_quantize: bitnetQuantize,
  bitnet_repack: bitnetRepack,
  bitnet_ternarize: bitnetTernarize,
  cache_append: cacheAppend,
  cache_append_quantized: cacheAppendQuantized,
  cast,
  decode_advance: decodeAdvance,
  decode_attention: decodeAttention,
  decode_attention_quantized: decodeAttentionQuantized,
  embedding,
  fill_random: fillRandom,
  gather_columns: gatherColumns,
  gather_rows: gatherRows,
  gptq_factor: gptqFactor,
  gptq_hessian: gptqHessian,
  gptq_quantize: gptqQuantize,
  gptq_repack: gptqRepack,
  int8_column_error: int8ColumnError,
  int8_quantize: int8Quantize,
  key_round: keyRound,
  layer_norm: layerNorm,
  linear,
  linear_affine: linearAffine,
  linear_bitnet: linearBitnet,
  linear_gptq: linearGptq,
  linear_int8: linearInt8,
  norm_quantize: normQuantize,
  relu2_mul: relu2Mul,
  rms_norm: rmsNorm,
  sample,
  scale_columns: scaleColumns,
  silu_mul: siluMul,
  token_nll: tokenNll,
};

/** What a case should give, each output rounded to its dtype. */
export function expectedOutputs(opCase: OpCase, dtypes: RunDTypes): Outputs {
  const entries = Object.entries(opCase.tensors).flatMap(([name, tensor]) =>
    tensor ? [[name, hostTensor(tensor, roundingOf(tensor, dtypes))] as const] : [],
  );
  const reference = references[opCase.op];
  if (!reference) throw new Error(`there is no reference for ${opCase.op}`);
  const results = reference(Object.fromEntries(entries), opCase.attrs);
  const outputs: Outputs = {};
  for (const [name, tensor] of Object.entries(opCase.tensors)) {
    if (!tensor?.access) continue;
    const dtype = dtypeOf(tensor, dtypes);
    outputs[name] = (results[name] as Float64Array).map((value) => rounded(value, dtype));
  }
  return trimmed(opCase, outputs);
}
