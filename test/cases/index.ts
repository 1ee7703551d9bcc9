import { attentionCases } from './attention';
import { elementwiseCases, linearCases } from './elementwise';
import { exactInt8Cases, int8Cases } from './int8';
import { lookupCases } from './lookup';
import type { OpCase } from './op-case';
import { sampleCases } from './sample';

export type { OpCase } from './op-case';

/** Every op case there is. */
export const opCases: readonly OpCase[] = [
  ...elementwiseCases,
  ...linearCases,
  ...lookupCases,
  ...attentionCases,
  ...int8Cases,
  ...exactInt8Cases,
  ...sampleCases,
];
