import { Device } from '../../lib/device';
import { kvRowBytes } from '../../lib/ops';

let device: Device;
beforeAll(() => {
  device = Device.open('cpu');
});
afterAll(() => device.dispose());

/** Words of one head of one token with the given codes. */
function words(codes: readonly number[], bits: 8 | 4 | 3): string[] {
  return device.scope(() => {
    const dim = codes.length;
    const x = device.from('f32', [1, dim], Float32Array.from(codes));
    const grid = [...codes.map(() => 1), ...codes.map(() => 0)];
    const grids = device.from('f32', [2, dim], Float32Array.from(grid));
    const cache = () => device.allocate('u8', [1, 1, 1, kvRowBytes(dim, bits)]);
    const [key, value] = [cache(), cache()];
    const zero = device.from('i32', [1], Int32Array.of(0));
    const none = undefined;
    device.run(
      'cache_append_quantized',
      [x, x, x, zero, zero, none, grids, grids, key, value, none, none],
      [bits],
    );
    const bytes = Buffer.from(value.read() as Uint8Array);
    expect(Buffer.from(key.read() as Uint8Array)).toEqual(bytes);
    return Array.from({ length: bytes.length / 4 }, (_, i) =>
      bytes
        .readUInt32LE(4 * i)
        .toString(16)
        .padStart(8, '0'),
    );
  });
}

const counting = (count: number, below: number) =>
  Array.from({ length: count }, (_, i) => i % below);

// The words that the layout is described with in the RPTQ reference: checked apart from the code.
test('codes of 8, 4 and 3 bits lie where other programs expect them', () => {
  expect(words([1, 2, 128, 255], 8)).toEqual(['ff800201']);
  expect(words(counting(16, 16), 4)).toEqual(['73625140', 'fbead9c8']);
  expect(words(counting(32, 8), 3)).toEqual(['ffaa5500', 'ffaa5500', 'aaaaaaaa']);
});

test.each([
  [128, 8, 128],
  [128, 4, 64],
  [128, 3, 48],
  [64, 4, 32],
  [64, 3, 24],
  [80, 4, 40],
  [80, 3, 32],
] as const)('a head of %i in %i bits takes %i bytes', (dim, bits, bytes) => {
  expect(kvRowBytes(dim, bits)).toBe(bytes);
});
