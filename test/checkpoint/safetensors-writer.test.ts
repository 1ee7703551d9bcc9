import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { writeWeights } from '../../lib/checkpoint/checkpoint-writer';
import { openSafetensors, readTensor } from '../../lib/checkpoint/safetensors';
import type { TensorSource } from '../../lib/checkpoint/safetensors-writer';
import { writeSafetensors } from '../../lib/checkpoint/safetensors-writer';
import type { TensorInfo } from '../../lib/checkpoint/tensor-info';
import { openWeights } from '../../lib/checkpoint/weights';
import { CheckpointError, OptionsError } from '../../lib/errors';
import { useFolder } from './support/folder';

const folder = useFolder();

const bytes = (count: number, first = 0) => Uint8Array.from({ length: count }, (_, i) => first + i);

async function* inPieces(...parts: Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const part of parts) yield part;
}

const tensors: TensorSource[] = [
  { name: 'z', dtype: 'u8', shape: [3], data: bytes(3) },
  { name: 'b', dtype: 'f16', shape: [2, 2], data: () => inPieces(bytes(5), bytes(3, 5)) },
  { name: 'a', dtype: 'u8', shape: [], data: async () => bytes(1, 9) },
  { name: 'c', dtype: 'f32', shape: [2], data: new Float32Array([1, 2]) },
  { name: 'none', dtype: 'f32', shape: [0, 4], data: bytes(0) },
];

describe('writeSafetensors', () => {
  it('writes what openSafetensors reads', async () => {
    const path = folder.file('model.safetensors');
    await writeSafetensors(path, tensors, { format: 'pt', by: 'test' });
    const file = await openSafetensors(path);
    expect(file.metadata).toEqual(
      new Map([
        ['format', 'pt'],
        ['by', 'test'],
      ]),
    );
    const read = (name: string) => readTensor(file.tensors.get(name) as TensorInfo);
    expect(await read('z')).toEqual(bytes(3));
    expect(await read('b')).toEqual(bytes(8));
    expect(await read('a')).toEqual(bytes(1, 9));
    expect(new Float32Array((await read('c')).buffer)).toEqual(new Float32Array([1, 2]));
    expect(file.tensors.get('b')).toMatchObject({ dtype: 'f16', shape: [2, 2] });
  });

  it('puts wide dtypes first, then sorts by name, and aligns the data', async () => {
    const path = folder.file('model.safetensors');
    await writeSafetensors(path, tensors);
    const file = await openSafetensors(path);
    const order = [...file.tensors.values()].sort((a, b) => a.offset - b.offset);
    expect(order.map(({ name }) => name).filter((name) => name !== 'none')).toEqual([
      'c',
      'b',
      'a',
      'z',
    ]);
    expect(file.tensors.get('c')?.offset).toBe(order[0]?.offset);
    expect((order[0] as TensorInfo).offset % 8).toBe(0);
    const header = readFileSync(path).subarray(8, order[0]?.offset).toString();
    expect(header).toMatch(/^\{"__metadata__":\{"format":"pt"\},"c":.*\} *$/);
  });

  it.each<[string, TensorSource, RegExp]>([
    ['too little data', { name: 'a', dtype: 'f32', shape: [2], data: bytes(7) }, /only 7/],
    ['too much data', { name: 'a', dtype: 'f32', shape: [2], data: bytes(9) }, /gave more/],
    ['a wrong shape', { name: 'a', dtype: 'f32', shape: [-2], data: bytes(8) }, /not a shape/],
    ['an absurd shape', { name: 'a', dtype: 'f32', shape: [2 ** 52, 9], data: bytes(8) }, /large/],
    ['a wrong dtype', { name: 'a', dtype: 'f3' as 'f32', shape: [2], data: bytes(8) }, /no dtype/],
    ['a used name', { name: '__metadata__', dtype: 'u8', shape: [1], data: bytes(1) }, /twice/],
  ])('refuses %s and leaves the folder as it was', async (_, tensor, message) => {
    const path = folder.file('model.safetensors');
    writeFileSync(path, 'before');
    const writing = writeSafetensors(path, [tensor]);
    await expect(writing).rejects.toThrow(OptionsError);
    await expect(writing).rejects.toThrow(message);
    expect(readdirSync(folder.path)).toEqual(['model.safetensors']);
    expect(readFileSync(path, 'utf8')).toBe('before');
  });

  it('passes on the failure of a data source', async () => {
    const data = () => Promise.reject(new RangeError('no data'));
    const writing = writeSafetensors(folder.file('x'), [
      { name: 'a', dtype: 'u8', shape: [1], data },
    ]);
    await expect(writing).rejects.toThrow('no data');
    expect(readdirSync(folder.path)).toEqual([]);
  });

  it('says when the folder cannot be written', async () => {
    const writing = writeSafetensors(folder.file('none/x.safetensors'), tensors);
    await expect(writing).rejects.toThrow(CheckpointError);
    await expect(writing).rejects.toThrow(/cannot be written.*ENOENT/);
  });
});

describe('writeWeights', () => {
  it('writes one file below the limit', async () => {
    expect(await writeWeights(folder.path, tensors)).toEqual(['model.safetensors']);
    expect((await openWeights(folder.path)).tensors.size).toBe(tensors.length);
  });

  it('writes shards and an index above it', async () => {
    const names = await writeWeights(folder.path, tensors, { maxShardBytes: 11 });
    expect(names).toEqual([
      'model-00001-of-00002.safetensors',
      'model-00002-of-00002.safetensors',
      'model.safetensors.index.json',
    ]);
    const index = JSON.parse(readFileSync(folder.file(names[2] as string), 'utf8'));
    expect(index.metadata.total_size).toBe(20);
    expect(index.weight_map.z).toBe(names[0]);
    expect(index.weight_map.c).toBe(names[1]);
    const { tensors: found, files } = await openWeights(folder.path);
    expect(found.size).toBe(tensors.length);
    expect(files).toHaveLength(2);
    expect(await readTensor(found.get('b') as TensorInfo)).toEqual(bytes(8));
  });

  it('removes the files of an earlier save and nothing else', async () => {
    writeFileSync(folder.file('config.json'), '{}');
    await writeWeights(folder.path, tensors);
    await writeWeights(folder.path, tensors, { maxShardBytes: 1 });
    expect(existsSync(folder.file('model.safetensors'))).toBe(false);
    expect(existsSync(folder.file('model-00005-of-00005.safetensors'))).toBe(true);
    await writeWeights(folder.path, tensors);
    expect(readdirSync(folder.path).sort()).toEqual(['config.json', 'model.safetensors']);
  });

  it('refuses nothing to write, duplicates and wrong limits', async () => {
    await expect(writeWeights(folder.path, [])).rejects.toThrow(OptionsError);
    const twice = [...tensors, ...tensors];
    await expect(writeWeights(folder.path, twice, { maxShardBytes: 1 })).rejects.toThrow(/twice/);
    await expect(writeWeights(folder.path, tensors, { maxShardBytes: 0 })).rejects.toThrow(
      OptionsError,
    );
  });
});
