import { Device, type DeviceName } from '../../lib/device';
import type { DType } from '../../lib/native';
import * as ops from '../../lib/ops';
import { goldenFolder, type RawTensor, readTensors, relativeError } from '../support/golden';
import { fromHalf, rounded } from '../support/half';
import { numbersOf, tensorOf } from '../support/tensors';

const golden = readTensors(goldenFolder('llm-int8-linear.safetensors'));
const cases = [...new Set([...golden.keys()].map((name) => name.split('.')[0] as string))].sort();

const tensor = (id: string, name: string) => golden.get(`${id}.${name}`) as RawTensor;
const halves = ({ bytes }: RawTensor) =>
  Array.from(new Uint16Array(bytes.buffer), (bits) => fromHalf(bits));

/** Layers that bitsandbytes quantized and ran with threshold 6, in fp16 on a GPU. */
export function llmInt8Golden(name: DeviceName, hidden: DType): void {
  let device: Device;
  beforeAll(() => {
    device = Device.open(name);
  });
  afterAll(() => device?.dispose());

  test('there are cases', () => expect(cases.length).toBeGreaterThanOrEqual(4));

  test.each(cases)('case %s: codes and scales of the weight', (id) => {
    device.scope(() => {
      const { shape } = tensor(id, 'w');
      const weight = tensorOf(device, 'f16', shape, halves(tensor(id, 'w')));
      const { codes, scales } = ops.int8Quantize(weight, { threshold: 0, mode: 'bitsandbytes' });
      const [, k] = shape as [number, number];
      const width = codes.shape[1] as number;
      const own = numbersOf(codes).filter((_, i) => i % width < k);
      const theirs = new Int8Array(tensor(id, 'w_int8').bytes.buffer);
      const worst = own.reduce((most, code, i) => {
        return Math.max(most, Math.abs(code - (theirs[i] as number)));
      }, 0);
      expect(worst).toBeLessThanOrEqual(1);
      expect(numbersOf(scales)).toEqual(
        Array.from(new Float32Array(tensor(id, 'SCB').bytes.buffer)),
      );
    });
  });

  test.each(cases)("case %s: output in bitsandbytes' mode", (id) => {
    device.scope(() => {
      const [n, k] = tensor(id, 'w').shape as [number, number];
      const [m] = tensor(id, 'x').shape as [number];
      const codes = new Float64Array(ops.alignInt8(n) * ops.alignInt8(k));
      const stored = new Int8Array(tensor(id, 'w_int8').bytes.buffer);
      for (let row = 0; row < n; row++) {
        codes.set(stored.subarray(row * k, (row + 1) * k), row * ops.alignInt8(k));
      }
      const weight = {
        codes: tensorOf(device, 'i8', [ops.alignInt8(n), ops.alignInt8(k)], codes),
        scales: tensorOf(device, 'f32', [n], new Float32Array(tensor(id, 'SCB').bytes.buffer)),
        bias: golden.has(`${id}.bias`)
          ? tensorOf(device, hidden, [n], halves(tensor(id, 'bias')))
          : undefined,
      };
      const x = tensorOf(device, hidden, [m, k], halves(tensor(id, 'x')));
      const input = ops.int8Quantize(x, { threshold: 6, mode: 'bitsandbytes' });
      const out = numbersOf(ops.linearInt8(input, weight, { mode: 'bitsandbytes' }));
      const theirs = halves(tensor(id, 'y_bnb'));
      // x * (127 / absmax) here, 127 * x / absmax there: near a tie a code of the input differs by
      // one. In case 0, a single row of 64 values, that one code makes 1.2e-3.
      expect(relativeError(out, theirs)).toBeLessThan(2e-3);
      const far = theirs.filter((y, i) => {
        return Math.abs(rounded(out[i] as number, 'f16') - y) > 0.015 + 0.01 * Math.abs(y);
      });
      expect(far).toEqual([]);
    });
  });
}
