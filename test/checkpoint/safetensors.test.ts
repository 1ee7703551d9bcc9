import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors, readTensor } from '../../lib/checkpoint/safetensors';
import { loadableDtype, storageDtypeOf } from '../../lib/checkpoint/storage-dtype';
import type { TensorInfo } from '../../lib/checkpoint/tensor-info';
import { CheckpointError, UnsupportedError } from '../../lib/errors';
import { SAMPLES, useFolder } from './support/folder';
import { rawSafetensors } from './support/raw-safetensors';

const folder = useFolder();

async function open(header: string | object, dataBytes: number) {
  const path = folder.file('x.safetensors');
  writeFileSync(path, rawSafetensors(header, dataBytes));
  return openSafetensors(path);
}

const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('openSafetensors', () => {
  it('finds the tensors of a real file', async () => {
    const file = await openSafetensors(join(SAMPLES, 'sample-llama', 'model.safetensors'));
    const embedding = file.tensors.get('model.embed_tokens.weight') as TensorInfo;
    expect(embedding).toMatchObject({ dtype: 'f16', shape: [4096, 256], file: file.path });
    expect(embedding.byteLength).toBe(4096 * 256 * 2);
    let bytes = 0;
    for (const { byteLength } of file.tensors.values()) bytes += byteLength;
    expect(bytes).toBeLessThan(file.size);
    expect(file.metadata.get('format')).toBe('pt');
  });

  it('accepts scalars, empty tensors, any order of names, and metadata', async () => {
    const header = {
      b: f32(4, 12),
      __metadata__: { format: 'pt', note: 'é' },
      scalar: f32(0, 4, []),
      empty: f32(4, 4, [0, 2 ** 40, 2 ** 40]),
    };
    const { tensors, metadata } = await open(header, 12);
    expect(tensors.get('scalar')).toMatchObject({ shape: [], byteLength: 4 });
    expect(tensors.get('empty')).toMatchObject({ byteLength: 0 });
    expect(metadata.get('note')).toBe('é');
    expect((await open('{}', 0)).tensors.size).toBe(0);
  });

  const entry = { dtype: 'F32', shape: [1], data_offsets: [0, 4] };
  it.each<[string, string | object, number, RegExp]>([
    ['invalid JSON', '{"a":', 0, /cannot be parsed/],
    ['a list', '[]', 0, /not a JSON object/],
    ['a duplicate tensor', `{"a":${j(entry)},"a":${j(entry)}}`, 4, /"a" occurs twice/],
    ['an escaped duplicate', `{"a":${j(entry)},"\\u0061":${j(entry)}}`, 4, /occurs twice/],
    ['a duplicate field', '{"a":{"dtype":"F32","dtype":"F16"}}', 4, /occurs twice/],
    ['a name that pollutes', `{"__proto__":${j(entry)}}`, 4, /"__proto__": this name is reserved/],
    ['a path that pollutes', { 'a.constructor.b': entry }, 4, /reserved/],
    ['an empty name', { '': entry }, 4, /reserved/],
    ['an entry that is no object', { a: 7 }, 0, /tensor "a": its entry is 7/],
    ['an entry that is null', { a: null }, 0, /its entry is null/],
    ['an unknown dtype', { a: { ...entry, dtype: 'F4' } }, 4, /unknown dtype "F4".*BF16/s],
    ['a lower-case dtype', { a: { ...entry, dtype: 'f32' } }, 4, /unknown dtype "f32"/],
    ['no dtype', { a: { shape: [1], data_offsets: [0, 4] } }, 4, /unknown dtype undefined/],
    ['a negative extent', { a: { ...entry, shape: [-1] } }, 4, /shape \[-1\]/],
    ['a fractional extent', { a: { ...entry, shape: [0.5, 2] } }, 4, /shape/],
    ['a string extent', { a: { ...entry, shape: ['1'] } }, 4, /shape/],
    ['a shape that is no list', { a: { ...entry, shape: 1 } }, 4, /shape 1/],
    ['an unsafe extent', { a: { ...entry, shape: [2 ** 53] } }, 4, /shape/],
    ['an overflowing shape', { a: { ...entry, shape: [2 ** 40, 2 ** 40] } }, 4, /needs .* bytes/],
    ['too many axes', { a: { ...entry, shape: Array(100).fill(1) } }, 4, /at most 64/],
    ['one offset', { a: { ...entry, data_offsets: [0] } }, 4, /data_offsets/],
    ['negative offsets', { a: { ...entry, data_offsets: [-4, 0] } }, 4, /data_offsets/],
    ['backward offsets', { a: { ...entry, data_offsets: [4, 0] } }, 4, /run backwards/],
    ['an end past the file', { a: f32(0, 8) }, 4, /has only/],
    ['a wrong size', { a: f32(0, 8, [3]) }, 8, /needs 12 bytes, data_offsets give 8/],
    ['an overlap', { a: f32(0, 8), b: f32(4, 12) }, 12, /"b".*overlaps/],
    ['two tensors in one place', { a: f32(0, 8), b: f32(0, 8) }, 8, /overlaps/],
    ['a hole', { a: f32(0, 4), b: f32(8, 12) }, 12, /"b".*hole/],
    ['a hole at the start', { a: f32(4, 8) }, 8, /hole/],
    ['bytes after the last tensor', { a: f32(0, 4) }, 5, /end at byte/],
    ['metadata that is no object', { __metadata__: [] }, 0, /__metadata__ is not an object/],
    ['metadata that are no strings', { __metadata__: { a: 1 } }, 0, /holds 1 under "a"/],
    ['deep nesting', `{"a":${'['.repeat(1e5)}${']'.repeat(1e5)}}`, 0, /not an object/],
  ])('refuses %s', async (_, header, dataBytes, message) => {
    const opening = open(header, dataBytes);
    await expect(opening).rejects.toThrow(CheckpointError);
    await expect(opening).rejects.toThrow(message);
    await expect(opening).rejects.toThrow(/x\.safetensors/);
  });

  it('refuses invalid UTF-8', async () => {
    const path = folder.file('x.safetensors');
    const bytes = rawSafetensors('{"a?":{}}', 0);
    bytes[11] = 0xff;
    writeFileSync(path, bytes);
    await expect(openSafetensors(path)).rejects.toThrow(/UTF-8/);
  });

  it('does not let a header change any prototype', async () => {
    await expect(open('{"__proto__":{"polluted":1}}', 0)).rejects.toThrow(CheckpointError);
    const { metadata } = await open('{"__metadata__":{"__proto__":"x"}}', 0);
    expect(metadata.get('__proto__')).toBe('x');
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
  });

  it.each([0, 1, 7, 8, 20, 90])('refuses a file cut to %d bytes', async (size) => {
    const path = folder.file('x.safetensors');
    writeFileSync(path, rawSafetensors({ a: f32(0, 40) }, 40));
    truncateSync(path, size);
    const opening = openSafetensors(path);
    await expect(opening).rejects.toThrow(CheckpointError);
    await expect(opening).rejects.toThrow(/fetch or export it again/);
  });

  it.each([2n ** 63n, 2n ** 64n - 1n, 100_000_001n, 1000n])(
    'refuses a header length of %d',
    async (length) => {
      const path = folder.file('x.safetensors');
      const bytes = rawSafetensors({}, 0);
      bytes.writeBigUInt64LE(length);
      writeFileSync(path, bytes);
      await expect(openSafetensors(path)).rejects.toThrow(/its header claims/);
    },
  );

  it('recognises a Git LFS pointer', async () => {
    const path = folder.file('x.safetensors');
    writeFileSync(path, 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n');
    await expect(openSafetensors(path)).rejects.toThrow(/git lfs pull/);
  });

  it('says what is wrong with a path', async () => {
    await expect(openSafetensors(folder.file('none'))).rejects.toThrow(/cannot be read.*ENOENT/);
    await expect(openSafetensors(folder.path)).rejects.toThrow(CheckpointError);
    await expect(openSafetensors(folder.file('none'))).rejects.toMatchObject({
      code: 'ERR_FEWBIT_CHECKPOINT',
      name: 'CheckpointError',
    });
  });
});

describe('readTensor', () => {
  it('reads the bytes of one tensor', async () => {
    const { tensors } = await open({ a: f32(0, 4), b: f32(4, 12) }, 12);
    expect(await readTensor(tensors.get('b') as TensorInfo)).toEqual(new Uint8Array(8).fill(1));
  });

  it('refuses large tensors and files that shrank', async () => {
    const { tensors, path } = await open({ a: f32(0, 12) }, 12);
    const info = tensors.get('a') as TensorInfo;
    await expect(readTensor({ ...info, byteLength: 2 ** 30 })).rejects.toThrow(/Only tensors/);
    truncateSync(path, info.offset + 4);
    await expect(readTensor(info)).rejects.toThrow(/became shorter: "a" f32\[3\] is cut off/);
  });
});

describe('loadableDtype', () => {
  it('passes native dtypes and refuses others', () => {
    expect(storageDtypeOf('BF16')).toBe('bf16');
    expect(loadableDtype('bf16', 'tensor a')).toBe('bf16');
    expect(() => loadableDtype('f64', 'tensor a')).toThrow(UnsupportedError);
    expect(() => loadableDtype('f64', 'tensor a')).toThrow(/tensor a is stored as f64.*bf16/);
  });
});

function j(value: unknown): string {
  return JSON.stringify(value);
}
