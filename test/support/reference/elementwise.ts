import { dot, fromRows, given, type Reference, rowOf, sizeOf } from './types';

export const add: Reference = (inputs) => {
  const { data: b } = given(inputs, 'b');
  return { out: given(inputs, 'a').data.map((value, i) => value + (b[i] as number)) };
};

export const siluMul: Reference = (inputs) => {
  const { data: up } = given(inputs, 'up');
  const { data: gate } = given(inputs, 'gate');
  return { out: gate.map((g, i) => (g / (1 + Math.exp(-g))) * (up[i] as number)) };
};

export const relu2Mul: Reference = (inputs) => {
  const { data: up } = given(inputs, 'up');
  return { out: given(inputs, 'gate').data.map((g, i) => Math.max(g, 0) ** 2 * (up[i] as number)) };
};

export const scaleColumns: Reference = (inputs) => {
  const x = given(inputs, 'x');
  const { data: scale } = given(inputs, 'scale');
  const [, cols] = sizeOf(x);
  return { x: x.data.map((value, i) => value * (scale[i % cols] as number)) };
};

/** Values stay as they are: the comparison rounds them to the dtype of the output. */
export const cast: Reference = (inputs) => ({ out: given(inputs, 'x').data });

type Normalise = (row: Float64Array, eps: number) => Float64Array;

function norm(normalise: Normalise): Reference {
  return (inputs, { eps }) => {
    const x = given(inputs, 'x');
    const [rows, cols] = sizeOf(x);
    const { residual, weight, bias } = inputs;
    const sums = Array.from({ length: rows }, (_, row) => {
      const before = residual ? rowOf(residual, row) : new Float64Array(cols);
      return rowOf(x, row).map((value, i) => value + (before[i] as number));
    });
    const out = sums.map((sum) =>
      normalise(sum, eps as number).map(
        (value, i) => value * (weight?.data[i] ?? 1) + (bias?.data[i % cols] ?? 0),
      ),
    );
    return { ...(residual && { residual: fromRows(sums) }), out: fromRows(out) };
  };
}

export const rmsNorm = norm((row, eps) => {
  const meanSquare = dot(row, row) / row.length;
  return row.map((value) => value / Math.sqrt(meanSquare + eps));
});

export const layerNorm = norm((row, eps) => {
  const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
  const centred = row.map((value) => value - mean);
  const variance = dot(centred, centred) / row.length;
  return centred.map((value) => value / Math.sqrt(variance + eps));
});

export const linear: Reference = (inputs, { activation }) => {
  const x = given(inputs, 'x');
  const weight = given(inputs, 'weight');
  const [m] = sizeOf(x);
  const [n] = sizeOf(weight);
  const columns = Array.from({ length: n }, (_, j) => rowOf(weight, j));
  const out = new Float64Array(m * n);
  for (let i = 0; i < m; i++) {
    const row = rowOf(x, i);
    for (let j = 0; j < n; j++) {
      const sum = dot(row, columns[j] as Float64Array) + (inputs.bias?.data[j] ?? 0);
      out[i * n + j] = activation && sum < 0 ? 0 : sum;
    }
  }
  return { out };
};
