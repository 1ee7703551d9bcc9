import type { Device } from '../../lib/device';
import type { DType } from '../../lib/native';
import { elementsOf, type Tensor } from '../../lib/tensor';
import type { CaseTensor, OpCase } from '../cases/op-case';
import { decode, encode, hostTensor } from './host-tensor';

/** Which dtypes a case runs with. */
export interface RunDTypes {
  hidden: DType;
  weight: DType;
  /** What values are rounded to when they are made; default: each tensor's own dtype. */
  rounding?: DType;
}

/** Name of each output, with its values. */
export type Outputs = Record<string, Float64Array>;

export function dtypeOf({ dtype }: CaseTensor, { hidden, weight }: RunDTypes): DType {
  if (dtype === 'hidden') return hidden;
  return dtype === 'weight' ? weight : dtype;
}

/** The dtype whose values a tensor starts with: float inputs are the same in runs to compare. */
export function roundingOf(tensor: CaseTensor, dtypes: RunDTypes): DType {
  const followsRun = tensor.dtype === 'hidden' || tensor.dtype === 'weight';
  return (followsRun ? dtypes.rounding : undefined) ?? dtypeOf(tensor, dtypes);
}

interface Placed {
  tensor: CaseTensor;
  storage: Tensor;
  view: Tensor;
}

/** Runs a case on a device and returns its outputs. */
export function runCase(device: Device, opCase: OpCase, dtypes: RunDTypes): Outputs {
  return device.scope(() => {
    const placed = Object.entries(opCase.tensors).map(
      ([name, tensor]) => [name, tensor && place(device, tensor, dtypes)] as const,
    );
    device.run(
      opCase.op,
      placed.map(([, entry]) => entry?.view),
      Object.values(opCase.attrs),
    );
    const outputs: Outputs = {};
    for (const [name, entry] of placed) {
      if (entry?.tensor.access) outputs[name] = gather(entry, name);
    }
    return trimmed(opCase, outputs);
  });
}

/** Cuts outputs off where another output says that they end. */
export function trimmed(opCase: OpCase, outputs: Outputs): Outputs {
  for (const [name, data] of Object.entries(outputs)) {
    const { lengthIn } = opCase.tensors[name] as CaseTensor;
    if (lengthIn) outputs[name] = data.subarray(0, (outputs[lengthIn] as Float64Array)[0]);
  }
  return outputs;
}

/** What lies between rows that are spaced apart. */
const GAP = 99;

function place(device: Device, tensor: CaseTensor, dtypes: RunDTypes): Placed {
  const { shape, rowStride } = tensor;
  const dtype = dtypeOf(tensor, dtypes);
  const { data } = hostTensor(tensor, roundingOf(tensor, dtypes));
  if (!rowStride) {
    const storage = device.empty(dtype, [...shape]).write(encode(data, dtype));
    return { tensor, storage, view: storage };
  }
  const [rows, cols] = shape as [number, number];
  const wide = new Float64Array(rows * rowStride).fill(GAP);
  for (let row = 0; row < rows; row++) {
    wide.set(data.subarray(row * cols, (row + 1) * cols), (row + 1) * rowStride - cols);
  }
  const storage = device.empty(dtype, [rows, rowStride]).write(encode(wide, dtype));
  return { tensor, storage, view: storage.columns(rowStride - cols, rowStride) };
}

function gather({ tensor, storage }: Placed, name: string): Float64Array {
  const all = decode(storage.read(), storage.dtype);
  const { shape, rowStride } = tensor;
  if (!rowStride) return all;
  const cols = shape[1] as number;
  const { floor } = Math;
  const data = new Float64Array(elementsOf(shape));
  for (let i = 0; i < all.length; i++) {
    const col = (i % rowStride) - (rowStride - cols);
    if (col >= 0) data[floor(i / rowStride) * cols + col] = all[i] as number;
    else if (all[i] !== GAP) throw new Error(`the op wrote between the rows of ${name}`);
  }
  return data;
}
