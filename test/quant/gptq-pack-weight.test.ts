import { packColumns } from '../../lib/quant/gptq/pack';
import { packWeight } from '../../lib/quant/gptq/pack-weight';

test.each([2, 3, 4, 8] as const)('%i-bit codes by output pack as their transpose does', (bits) => {
  const [n, k] = [32, 96];
  const codes = Uint8Array.from({ length: n * k }, (_, i) => (i * 2654435761) >>> (32 - bits));
  const byInput = Uint8Array.from({ length: n * k }, (_, i) => {
    const [input, output] = [Math.floor(i / n), i % n];
    return codes[output * k + input] as number;
  });
  expect(packWeight(codes, n, bits)).toEqual(packColumns(byInput, n, bits));
});
