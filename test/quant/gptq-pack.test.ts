import { Device } from '../../lib/device';
import { GPTQ_BITS, type GptqBits, gptqLowWidth, gptqPlaneBytes } from '../../lib/ops';
import { columnOrder } from '../../lib/quant/gptq/column-order';
import {
  packColumns,
  packRows,
  packZeros,
  unpackColumns,
  unpackRows,
  unpackZeros,
  type ZeroFormat,
} from '../../lib/quant/gptq/pack';
import { readPlanes } from '../../lib/quant/gptq/planes';
import { integer } from '../support/random';

const hex = (words: Int32Array) =>
  [...words].map((word) => (word >>> 0).toString(16).toUpperCase().padStart(8, '0'));
const repeat = (count: number, codes: number[]) =>
  Uint8Array.from({ length: count }, (_, i) => codes[i % codes.length] as number);
const straddling = new Uint8Array(32);
straddling[10] = 7;
straddling[21] = 7;
const upTo8 = [0, 1, 2, 3, 4, 5, 6, 7];

test.each<[GptqBits, Uint8Array, string[], number[]]>([
  [2, repeat(16, [0, 1, 2, 3]), ['E4E4E4E4'], [-454761244]],
  [
    4,
    repeat(16, [...upTo8, 8, 9, 10, 11, 12, 13, 14, 15]),
    ['76543210', 'FEDCBA98'],
    [1985229328, -19088744],
  ],
  [8, Uint8Array.of(1, 2, 128, 255), ['FF800201'], [-8388095]],
  [
    3,
    repeat(32, upTo8),
    ['88FAC688', 'C688FAC6', 'FAC688FA'],
    [-1996831096, -964101434, -87652102],
  ],
  [3, straddling, ['C0000000', '80000001', '00000003'], [-1073741824, -2147483647, 3]],
])('codes of %i bits as words: %#', (bits, codes, words, integers) => {
  const packed = packRows(codes, bits);
  expect(hex(packed)).toEqual(words);
  expect([...packed]).toEqual(integers);
  expect(packColumns(codes, 1, bits)).toEqual(packed);
  expect(unpackRows(packed, bits)).toEqual(codes);
  expect(unpackColumns(packed, 1, bits)).toEqual(codes);
});

test.each<[GptqBits, number, string[], string[], string[]]>([
  [2, 2, ['55555555'], ['AAAAAAAA'], ['55555555']],
  [
    3,
    4,
    ['DB6DB6DB', 'B6DB6DB6', '6DB6DB6D'],
    ['24924924', '49249249', '92492492'],
    ['49249249', '92492492', '24924924'],
  ],
  [4, 8, ['77777777'], ['88888888'], ['11111111']],
  [8, 128, ['7F7F7F7F'], ['80808080'], ['01010101']],
])('symmetric zero points of %i bits: %i in v1 and v2', (bits, zero, v1, v2, ones) => {
  const fields = bits === 3 ? 32 : 32 / bits;
  const zeros = repeat(fields, [zero]);
  expect(hex(packZeros(zeros, bits, 'gptq'))).toEqual(v1);
  expect(hex(packZeros(zeros, bits, 'gptq_v2'))).toEqual(v2);
  expect(hex(packRows(repeat(fields, [1]), bits))).toEqual(ones);
  for (const format of ['gptq', 'gptq_v2'] as const) {
    expect(unpackZeros(packZeros(zeros, bits, format), bits, format)).toEqual(zeros);
  }
});

describe('an asymmetric v1 zero point of 0', () => {
  const zeros = Uint8Array.of(0, 5, 8, 3, 0, 15, 7, 1);

  test('borrows from the next field, which reading gives back', () => {
    expect(hex(packRows(zeros, 4))).toEqual(['17F03850']);
    expect(hex(packZeros(zeros, 4, 'gptq'))).toEqual(['06DF273F']);
    expect(unpackZeros(Int32Array.of(0x06df273f), 4, 'gptq')).toEqual(zeros);
  });

  test('written field by field reads as whole words do', () => {
    const read = unpackZeros(Int32Array.of(0x06ef274f), 4, 'gptq');
    expect([...read]).toEqual([0, 6, 8, 3, 0, 0, 8, 1]);
  });

  test('of a writer that lost the fields after it reads as what is left', () => {
    const read = unpackZeros(Int32Array.of(-1), 4, 'gptq');
    expect([...read]).toEqual([0, 1, 1, 1, 1, 1, 1, 1]);
  });

  test.each(GPTQ_BITS)('every combination of extremes in %i bits', (bits) => {
    const most = 2 ** bits - 1;
    const next = integer(bits, 0, 3);
    const some = Uint8Array.from({ length: 256 }, () => [0, 1, most - 1, most][next()] as number);
    const v1 = packZeros(some, bits, 'gptq');
    const read = unpackZeros(v1, bits, 'gptq');
    expect(read).toEqual(some);
    expect(packZeros(read, bits, 'gptq')).toEqual(v1);
  });
});

test.each(GPTQ_BITS)('codes of %i bits that are too large become the largest', (bits) => {
  const most = 2 ** bits - 1;
  const codes = Uint8Array.from({ length: 32 }, (_, i) => (i % 2 ? 255 : 1));
  const held = codes.map((code) => Math.min(code, most));
  expect(unpackRows(packRows(codes, bits), bits)).toEqual(held);
  expect(unpackColumns(packColumns(codes, 1, bits), 1, bits)).toEqual(held);
});

test.each<[GptqBits, number]>([
  [2, 8],
  [3, 40],
  [4, 12],
  [8, 6],
])('columns that end inside of a word are refused: %i bits, %i rows', (bits, rows) => {
  expect(() => packColumns(new Uint8Array(32 * rows), 32, bits)).toThrow(
    `${rows} codes of ${bits} bits do not fill 32-bit words`,
  );
  expect(() => packRows(new Uint8Array(rows), bits)).toThrow(/do not fill/);
});

test('empty tensors: zero points of a file of zeros', () => {
  expect(unpackZeros(new Int32Array(3), 3, 'gptq')).toEqual(repeat(32, [1]));
  expect(unpackZeros(new Int32Array(3), 3, 'gptq_v2')).toEqual(repeat(32, [0]));
});

describe.each(GPTQ_BITS)('%i bits', (bits) => {
  test.each([32, 64, 128, -1])('pack, load and read back in groups of %i', (groupSize) => {
    const [k, n] = [256, 64];
    const size = groupSize === -1 ? k : groupSize;
    const groups = k / size;
    const next = integer(bits + size, 0, 2 ** bits - 1);
    const codes = Uint8Array.from({ length: k * n }, next);
    const zeros = Uint8Array.from({ length: groups * n }, next);
    const qweight = packColumns(codes, n, bits);
    expect(unpackColumns(qweight, n, bits)).toEqual(codes);
    using device = Device.open('cpu');
    for (const format of ['gptq', 'gptq_v2'] satisfies ZeroFormat[]) {
      device.scope(() => {
        const from = (shape: number[], data: Int32Array | Uint16Array) =>
          device.empty(data instanceof Int32Array ? 'i32' : 'f16', shape).write(data);
        const planes = {
          codes: device.empty('u8', [n, gptqPlaneBytes(k, gptqLowWidth(bits))]),
          high: bits === 3 ? device.empty('u8', [n, gptqPlaneBytes(k, 1)]) : undefined,
        };
        const loaded = device.empty('u8', [n, groups]);
        const scales = Uint16Array.from({ length: groups * n }, (_, i) => i);
        const outScales = device.empty('f16', [n, groups]);
        device.run(
          'gptq_repack',
          [
            from([(k * bits) / 32, n], qweight),
            from([groups, (n * bits) / 32], packZeros(zeros, bits, format)),
            from([groups, n], scales),
            undefined,
            undefined,
            planes.codes,
            planes.high,
            loaded,
            outScales,
          ],
          [bits, format === 'gptq' ? 1 : 0],
        );
        const held = {
          codes: planes.codes.read() as Uint8Array,
          high: planes.high?.read() as Uint8Array | undefined,
        };
        const read = readPlanes(held, { rows: n, positions: k, bits });
        for (let col = 0; col < n; col++) {
          for (let row = 0; row < k; row++) {
            if (read[col * k + row] !== codes[row * n + col]) throw new Error(`${row}, ${col}`);
          }
        }
        const transposed = (values: ArrayLike<number>) =>
          Array.from(
            { length: n * groups },
            (_, i) => values[(i % groups) * n + Math.floor(i / groups)],
          );
        expect([...loaded.read()]).toEqual(transposed(zeros));
        expect([...outScales.read()]).toEqual(transposed(scales));
      });
    }
  });
});

describe('the order of columns', () => {
  const order = (groupOf: number[], groupSize: number) => {
    const found = columnOrder(Int32Array.from(groupOf), groupSize);
    return found && { order: [...found.order], groups: [...found.groups] };
  };

  test('is none where groups follow each other, whatever the last one holds', () => {
    expect(order([0, 0, 1, 1, 2, 2], 2)).toBeUndefined();
    expect(order([0, 0, 0, 0, 1], 4)).toBeUndefined();
    expect(order([0, 0, 0], 8)).toBeUndefined();
  });

  test('is stable within a group', () => {
    expect(order([1, 0, 1, 0], 2)).toEqual({ order: [1, 3, 0, 2], groups: [0, 1] });
    expect(order([1, 0, 0, 0, 0], 4)).toEqual({ order: [1, 2, 3, 4, 0], groups: [0, 1] });
  });

  test('pads short groups, and cuts long ones', () => {
    expect(order([2, 0, 2, 1], 2)).toEqual({ order: [1, -1, 3, -1, 0, 2], groups: [0, 1, 2] });
    expect(order([0, 0, 0, 1], 2)).toEqual({ order: [0, 1, 2, -1, 3], groups: [0, 0, 1] });
    expect(order([3, 3, 3, 3], 2)).toEqual({ order: [0, 1, 2, 3], groups: [3, 3] });
  });
});
