import { alignBitnet } from '../../../lib/ops';
import type { HostTensor } from '../host-tensor';
import { bitnetQuantize, linearBitnet } from './bitnet';
import { given, type Reference, sizeOf } from './types';

/** The two ops that it stands for, one after the other. */
export const bitLinear: Reference = (inputs, { gate, eps, activation }) => {
  const [rows, cols] = sizeOf(given(inputs, 'x'));
  const zeros = (...shape: number[]): HostTensor => ({
    shape,
    data: new Float64Array(shape.reduce((product, extent) => product * extent, 1)),
  });
  const { norm, weight, ...others } = inputs;
  const empty = { codes: zeros(rows, alignBitnet(cols)), scales: zeros(rows), sums: zeros(rows) };
  const quantized = bitnetQuantize(
    { ...others, ...(norm && { weight: norm }), ...empty },
    { activation: gate as number, eps: eps as number },
  );
  const filled = Object.fromEntries(
    Object.entries(empty).map(([name, { shape }]) => [
      name,
      { shape, data: quantized[name] as Float64Array },
    ]),
  );
  const { out } = linearBitnet(
    { ...others, ...filled, ...(weight && { weight }) },
    { activation: activation as number },
  );
  return { out: out as Float64Array };
};
