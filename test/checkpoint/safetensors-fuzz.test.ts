import { headerLength, LENGTH_BYTES, parseHeader } from '../../lib/checkpoint/safetensors-header';
import { CheckpointError } from '../../lib/errors';
import { seeded } from './support/random';
import { rawSafetensors } from './support/raw-safetensors';

const CASES = 6000;

const valid = rawSafetensors(
  {
    __metadata__: { format: 'pt' },
    'model.embed_tokens.weight': { dtype: 'F16', shape: [16, 8], data_offsets: [0, 256] },
    'model.norm.weight': { dtype: 'F32', shape: [8], data_offsets: [256, 288] },
    'h.0.weight': { dtype: 'I8', shape: [8, 8], data_offsets: [288, 352] },
    'h.0.SCB': { dtype: 'F32', shape: [8], data_offsets: [352, 384] },
    'h.0.weight_format': { dtype: 'U8', shape: [], data_offsets: [384, 385] },
  },
  385,
);
const headerEnd = LENGTH_BYTES + Number(valid.readBigUInt64LE());

/** What `openSafetensors` does, on bytes in memory. */
function open(bytes: Buffer) {
  const length = headerLength(bytes.subarray(0, LENGTH_BYTES), bytes.length, 'x');
  return parseHeader(bytes.subarray(LENGTH_BYTES, LENGTH_BYTES + length), bytes.length, 'x');
}

type Random = ReturnType<typeof seeded>;
type Mutation = (bytes: Buffer, random: Random) => Buffer;

const FRAGMENTS = [
  '0',
  '-1',
  '1e999',
  '9007199254740993',
  'null',
  '{',
  '}',
  '[',
  ']',
  '"',
  ',',
  ':',
]
  .concat(['"__proto__":{}', '"data_offsets":[0,0]', '"dtype":"F64"', '[[[[', '\\u0000', '\\', ' '])
  .map((text) => Buffer.from(text));

const flipBits: Mutation = (bytes, random) => {
  const copy = Buffer.from(bytes);
  for (let flips = 1 + random(4); flips > 0; flips--) {
    const place = random(headerEnd);
    copy[place] = (copy[place] as number) ^ (1 << random(8));
  }
  return copy;
};
const truncate: Mutation = (bytes, random) => bytes.subarray(0, random(bytes.length));
const setLength: Mutation = (bytes, random) => {
  const copy = Buffer.from(bytes);
  copy.writeBigUInt64LE(BigInt(random(2 ** 31)) << BigInt(random(33)));
  return copy;
};
const editDigit: Mutation = (bytes, random) => {
  const copy = Buffer.from(bytes);
  const digits = [...copy.subarray(0, headerEnd).entries()].filter(([, c]) => c >= 48 && c <= 57);
  const digit = digits[random(digits.length)];
  if (digit) copy[digit[0]] = 48 + random(10);
  return copy;
};
/** Puts a piece of JSON somewhere in the header, keeping the length field right. */
const splice: Mutation = (bytes, random) => {
  const from = LENGTH_BYTES + random(headerEnd - LENGTH_BYTES);
  const fragment = FRAGMENTS[random(FRAGMENTS.length)] as Buffer;
  const rest = bytes.subarray(from + random(12));
  const copy = Buffer.concat([bytes.subarray(0, from), fragment, rest]);
  copy.writeBigUInt64LE(BigInt(Math.max(0, headerEnd - LENGTH_BYTES + copy.length - bytes.length)));
  return copy;
};
const extend: Mutation = (bytes, random) => Buffer.concat([bytes, Buffer.alloc(1 + random(64))]);

const MUTATIONS = [flipBits, truncate, setLength, editDigit, splice, extend];

it('accepts the file that the cases are made from', () => {
  expect(open(valid).tensors.size).toBe(5);
});

it.each([1, 2, 3])('reads or refuses damaged files, seed %d', (seed) => {
  const random = seeded(seed);
  let refused = 0;
  let read = 0;
  for (let i = 0; i < CASES / 3; i++) {
    let bytes = valid;
    for (let rounds = 1 + random(2); rounds > 0; rounds--) {
      if (bytes.length < LENGTH_BYTES) break;
      bytes = (MUTATIONS[random(MUTATIONS.length)] as Mutation)(bytes, random);
    }
    try {
      const { tensors } = open(bytes);
      read++;
      for (const { offset, byteLength, shape } of tensors.values()) {
        expect(offset).toBeGreaterThanOrEqual(LENGTH_BYTES);
        expect(offset + byteLength).toBeLessThanOrEqual(bytes.length);
        expect(shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)).toBe(true);
      }
    } catch (error) {
      if (!(error instanceof CheckpointError)) throw error;
      refused++;
    }
  }
  // Both outcomes must occur, or the mutations are not worth much.
  expect(refused).toBeGreaterThan(CASES / 6);
  expect(read).toBeGreaterThan(20);
});
