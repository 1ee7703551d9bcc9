import { affineGrid, dequantize, quantize } from '../../../lib/quant/rptq/affine';

// The worked examples of RPTQ's reference implementation: bits, min, max, scale, zero, x to code.
test.each([
  [4, -1, 3, 0.25, -4, { '-1': -8, 0: -4, 0.375: -2, 3: 7 }],
  [3, -0.5, 1, 0.1875, -1, { '-0.5': -4, 0.3: 1, 1: 3 }],
  [8, 10, 11, 1 / 256, -2688, { 10.5: 0 }],
  [4, 0, 0, 1e-4, 0, { 0: 0 }],
])('%i bits on [%d, %d]', (bits, min, max, scale, zero, codes) => {
  const grid = affineGrid(min, max, bits);
  expect(grid.scale).toBeCloseTo(scale, 12);
  expect(grid.zero + 0).toBe(zero);
  for (const [x, code] of Object.entries(codes)) expect(quantize(Number(x), grid, bits)).toBe(code);
});

test('rounds ties to even before the zero point is added', () => {
  const even = { scale: 1, zero: 0 };
  const odd = { scale: 1, zero: 1 };
  expect([0.5, 1.5, 2.5, -0.5, -1.5].map((x) => quantize(x, even, 8) + 0)).toEqual([
    0, 2, 2, 0, -2,
  ]);
  expect([0.5, 1.5, 2.5].map((x) => quantize(x, odd, 8))).toEqual([1, 3, 3]);
});

test.each([2, -2, 1000, -0.5])('a channel that is always %d keeps its value', (value) => {
  for (const bits of [8, 4, 3]) {
    const grid = affineGrid(value, value, bits);
    const error = Math.abs(dequantize(quantize(value, grid, bits), grid) - value);
    expect(error).toBeLessThanOrEqual(Math.abs(value) * 1e-4);
  }
});

test('codes never leave the range of their bits', () => {
  const grid = affineGrid(-1, 1, 3);
  expect(quantize(100, grid, 3)).toBe(3);
  expect(quantize(-100, grid, 3)).toBe(-4);
});
