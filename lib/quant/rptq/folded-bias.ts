import type { QuantizedLayer } from '../gptq/quantized-layer';

/**
 * The bias that takes in the zero points of the inputs: bias[n] - sum over k of w[n, k] zero[k], where w
 * are the weights that the codes stand for. Sums are double precision.
 * @param grid f32[2, K] of the inputs
 * @returns f32[N]
 */
export function foldedBias(
  { codes, scales, zeros, outFeatures: n }: QuantizedLayer<Float32Array>,
  grid: Float32Array,
  bias: Float32Array | undefined,
): Float32Array {
  const k = codes.length / n;
  const groups = zeros.length / n;
  const groupSize = k / groups;
  const inputZeros = grid.subarray(k);
  const out = new Float32Array(n);
  for (let row = 0; row < n; row++) {
    let sum = 0;
    for (let g = 0; g < groups; g++) {
      const at = row * groups + g;
      const zero = zeros[at] as number;
      let inGroup = 0;
      for (let i = g * groupSize; i < (g + 1) * groupSize; i++) {
        inGroup += ((codes[row * k + i] as number) - zero) * (inputZeros[i] as number);
      }
      sum += inGroup * (scales[at] as number);
    }
    out[row] = (bias?.[row] ?? 0) - sum;
  }
  return out;
}
