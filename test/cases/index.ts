import { affineCases, affineTileCases } from './affine';
import { affineQuantizeCases } from './affine-quantize';
import { attentionCases } from './attention';
import { attentionQuantizedCases } from './attention-quantized';
import { bitLinearCases } from './bit-linear';
import { bitnetCases } from './bitnet';
import { bitnetQuantizeCases } from './bitnet-quantize';
import { elementwiseCases, linearCases } from './elementwise';
import { gptqCases, largeGptqCases } from './gptq';
import { gptqQuantizeCases } from './gptq-quantize';
import { int8QuantizeCases } from './int8-quantize';
import { keyRoundCases } from './key-round';
import { exactInt8Cases, linearInt8Cases } from './linear-int8';
import { lookupCases } from './lookup';
import { normQuantizeCases } from './norm-quantize';
import type { OpCase } from './op-case';
import { sampleCases } from './sample';

export type { OpCase } from './op-case';

/** Every op case there is. */
export const opCases: readonly OpCase[] = [
  ...elementwiseCases,
  ...linearCases,
  ...lookupCases,
  ...attentionCases,
  ...attentionQuantizedCases,
  ...keyRoundCases,
  ...int8QuantizeCases,
  ...linearInt8Cases,
  ...exactInt8Cases,
  ...bitnetCases,
  ...bitnetQuantizeCases,
  ...bitLinearCases,
  ...gptqCases,
  ...gptqQuantizeCases,
  ...affineQuantizeCases,
  ...normQuantizeCases,
  ...affineCases,
  ...sampleCases,
];

/** Cases for CUDA alone. */
export const cudaCases: readonly OpCase[] = [...affineTileCases, ...largeGptqCases];
