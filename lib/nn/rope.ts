import type { RopeConfig } from '../checkpoint/config';

/**
 * Cosines and sines of rotary position embedding (arXiv 2104.09864), as `cache_append` reads them:
 * row p holds headDim/2 cosines, then headDim/2 sines, of the angles of position p.
 * @returns f32 values of a [positions, headDim] matrix
 */
export function ropeTable(rope: RopeConfig, headDim: number, positions: number): Float32Array {
  const half = headDim / 2;
  const table = new Float32Array(positions * headDim);
  for (let i = 0; i < half; i++) {
    const frequency = scaledFrequency(rope, rope.theta ** ((-2 * i) / headDim));
    for (let p = 0; p < positions; p++) {
      table[p * headDim + i] = Math.cos(p * frequency);
      table[p * headDim + half + i] = Math.sin(p * frequency);
    }
  }
  return table;
}

function scaledFrequency(rope: RopeConfig, frequency: number): number {
  if (rope.type === 'default') return frequency;
  if (rope.type === 'linear') return frequency / rope.factor;
  const { factor, lowFreqFactor, highFreqFactor, originalMaxPositionEmbeddings } = rope;
  const turns = (originalMaxPositionEmbeddings * frequency) / (2 * Math.PI);
  if (turns > highFreqFactor) return frequency;
  if (turns < lowFreqFactor) return frequency / factor;
  const smooth = (turns - lowFreqFactor) / (highFreqFactor - lowFreqFactor);
  return ((1 - smooth) / factor + smooth) * frequency;
}
