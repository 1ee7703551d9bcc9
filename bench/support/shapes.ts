import { presetConfig } from 'fewbit';

/** A linear layer as it runs: y[M, N] = x[M, K] W^T. */
export interface LinearShape {
  layer: string;
  n: number;
  k: number;
}

/** The linear layers of one block of a model; projections with the same input count as one. */
export function linearShapes(preset: string): LinearShape[] {
  const config = presetConfig(preset);
  const { hiddenSize: hidden } = config;
  if (config.modelType !== 'opt') {
    const { headDim, numAttentionHeads, numKeyValueHeads, intermediateSize } = config;
    const query = numAttentionHeads * headDim;
    return [
      { layer: 'q+k+v', n: query + 2 * numKeyValueHeads * headDim, k: hidden },
      { layer: 'o', n: hidden, k: query },
      { layer: 'gate+up', n: 2 * intermediateSize, k: hidden },
      { layer: 'down', n: hidden, k: intermediateSize },
    ];
  }
  return [
    { layer: 'q+k+v', n: 3 * hidden, k: hidden },
    { layer: 'o', n: hidden, k: hidden },
    { layer: 'fc1', n: config.ffnDim, k: hidden },
    { layer: 'fc2', n: hidden, k: config.ffnDim },
  ];
}

/** `4096x11008` as N x K. */
export function parseShape(text: string): LinearShape {
  const match = /^(\d+)x(\d+)$/.exec(text);
  if (!match) throw new Error(`--shape takes NxK, such as 4096x11008, got '${text}'`);
  return { layer: text, n: Number(match[1]), k: Number(match[2]) };
}
