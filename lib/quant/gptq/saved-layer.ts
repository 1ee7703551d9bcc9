import type { StoredTensor } from '../../nn/module';
import { storedTensor } from '../../nn/parameter';
import { type HostArray, hostArray, type Tensor } from '../../tensor';
import type { LoadedWeight } from './gptq-weight';
import { packColumns, packZeros, type ZeroFormat } from './pack';
import { readPlanes } from './planes';

interface Rows {
  begin: number;
  end: number;
}

/** The tensors of one layer of a stack, in the order of the checkpoint it was loaded from. */
export function savedLayer(
  name: string,
  loaded: LoadedWeight,
  rows: Rows,
  format: ZeroFormat,
): StoredTensor[] {
  const { weight, groupOf, layers } = loaded;
  const { bits } = weight;
  const groups = (layers[0] as { groups: number }).groups;
  const width = rows.end - rows.begin;
  const inputs = groupOf.length;
  return [
    {
      name: `${name}.qweight`,
      dtype: 'i32',
      shape: [(inputs * bits) / 32, width],
      read: async () => packColumns(await codesByInput(loaded, rows), width, bits),
    },
    {
      name: `${name}.qzeros`,
      dtype: 'i32',
      shape: [groups, (width * bits) / 32],
      read: async () =>
        packZeros((await byGroup(loaded, weight.zeros, rows)) as Uint8Array, bits, format),
    },
    {
      name: `${name}.scales`,
      dtype: weight.scales.dtype,
      shape: [groups, width],
      read: () => byGroup(loaded, weight.scales, rows),
    },
    { name: `${name}.g_idx`, dtype: 'i32', shape: [inputs], read: async () => groupOf },
    ...(weight.bias ? [storedTensor(`${name}.bias`, weight.bias, rows)] : []),
  ];
}

/** Codes u8[K, N] of some outputs, by input column. */
async function codesByInput({ weight, groupOf, columns }: LoadedWeight, rows: Rows) {
  const { bits } = weight;
  const width = rows.end - rows.begin;
  const positions = columns?.order.length ?? groupOf.length;
  const planes = {
    codes: (await readRows(weight.codes, rows)) as Uint8Array,
    high: weight.high && ((await readRows(weight.high, rows)) as Uint8Array),
  };
  const codes = readPlanes(planes, { rows: width, positions, bits });
  const out = new Uint8Array(groupOf.length * width);
  for (let p = 0; p < positions; p++) {
    const input = columns ? (columns.order[p] as number) : p;
    if (input < 0) continue;
    for (let n = 0; n < width; n++) {
      out[input * width + n] = codes[n * positions + p] as number;
    }
  }
  return out;
}

/** Turns values [N, runs] of some outputs into [G, N], the groups as they are on disk. */
async function byGroup({ columns, layers }: LoadedWeight, tensor: Tensor, rows: Rows) {
  const { groups } = layers[0] as { groups: number };
  const width = rows.end - rows.begin;
  const values = await readRows(tensor, rows);
  const runs = tensor.shape[1] as number;
  const out = hostArray(tensor.dtype, groups * width);
  for (let run = 0; run < runs; run++) {
    const group = columns ? (columns.groups[run] as number) : run;
    for (let n = 0; n < width; n++) {
      out[group * width + n] = values[n * runs + run] as number;
    }
  }
  return out;
}

async function readRows(tensor: Tensor, { begin, end }: Rows): Promise<HostArray> {
  using view = tensor.rows(begin, end);
  const into = hostArray(tensor.dtype, view.elements);
  await tensor.device.submit([{ kind: 'read', tensor: view.handle, into }]);
  return into;
}
