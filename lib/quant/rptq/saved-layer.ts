import type { StoredTensor } from '../../nn/module';
import { storedTensor } from '../../nn/parameter';
import type { AffineWeight, AffineWeightBits, GptqWeight } from '../../ops';
import { type HostArray, hostArray, type Tensor } from '../../tensor';
import { packZeros } from '../gptq/pack';
import { packWeight } from '../gptq/pack-weight';
import { readPlanes } from '../gptq/planes';
import { transposed } from '../gptq/quantized-layer';
import { readAffinePlanes } from './affine-planes';

/** Rows of a stack that are one layer. */
export interface SavedRows {
  readonly weight: GptqWeight | AffineWeight;
  /** Whether the codes are in the order of `linearAffine`. */
  readonly coded: boolean;
  readonly positions: number;
  readonly begin: number;
  readonly end: number;
}

/** The weight and the bias of a loaded layer, the same as those it was loaded from. */
export function savedWeight(
  name: string,
  { weight, coded, positions, begin, end }: SavedRows,
): StoredTensor[] {
  const { codes, high, scales, zeros, bias } = weight;
  const bits = weight.bits as AffineWeightBits;
  const n = end - begin;
  const groups = scales.shape[1] as number;
  const rows = (tensor: Tensor): Promise<HostArray> => readRows(tensor, begin, end);
  return [
    {
      name: `${name}.qweight`,
      dtype: 'i32',
      shape: [(positions * bits) / 32, n],
      read: async () => {
        const planes = {
          codes: (await rows(codes)) as Uint8Array,
          high: high && ((await rows(high)) as Uint8Array),
        };
        const unpack = coded ? readAffinePlanes : readPlanes;
        return packWeight(unpack(planes, { rows: n, positions, bits }), n, bits);
      },
    },
    {
      name: `${name}.qzeros`,
      dtype: 'i32',
      shape: [groups, (n * bits) / 32],
      read: async () =>
        packZeros(transposed((await rows(zeros as Tensor)) as Uint8Array, n), bits, 'gptq_v2'),
    },
    {
      name: `${name}.scales`,
      dtype: scales.dtype,
      shape: [groups, n],
      read: async () => transposed((await rows(scales)) as Float32Array | Uint16Array, n),
    },
    ...(bias ? [storedTensor(`${name}.bias`, bias, { begin, end })] : []),
  ];
}

async function readRows(tensor: Tensor, begin: number, end: number): Promise<HostArray> {
  using view = tensor.rows(begin, end);
  const into = hostArray(tensor.dtype, view.elements);
  await tensor.device.submit([{ kind: 'read', tensor: view.handle, into }]);
  return into;
}
