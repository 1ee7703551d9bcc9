import { randomNumbers } from '../../../lib/eval/random';
import { kMeans } from '../../../lib/quant/rptq/kmeans';

function randomPoints(count: number, dimensions: number, seed: number) {
  const random = randomNumbers(seed);
  const values = Float64Array.from({ length: count * dimensions }, () => random() ** 3 * 10);
  return { values, dimensions };
}

/** The least inertia that any split of sorted numbers into k runs has: optimal in one dimension. */
function optimalInertia(sorted: number[], k: number): number {
  const cost = (from: number, to: number): number => {
    const part = sorted.slice(from, to);
    const mean = part.reduce((sum, x) => sum + x, 0) / part.length;
    return part.reduce((sum, x) => sum + (x - mean) ** 2, 0);
  };
  let best = sorted.map((_, i) => cost(0, i + 1));
  for (let clusters = 2; clusters <= k; clusters++) {
    best = sorted.map((_, end) => {
      let least = best[end] as number;
      for (let cut = 1; cut <= end; cut++) {
        least = Math.min(least, (best[cut - 1] as number) + cost(cut, end + 1));
      }
      return least;
    });
  }
  return best.at(-1) as number;
}

test.each([1, 2, 3, 5])('comes near the optimum of %i clusters in one dimension', (k) => {
  const points = randomPoints(60, 1, 3);
  const { inertia } = kMeans(points, k);
  const optimum = optimalInertia(
    [...points.values].sort((a, b) => a - b),
    k,
  );
  expect(inertia).toBeGreaterThanOrEqual(optimum * (1 - 1e-9));
  expect(inertia).toBeLessThanOrEqual(optimum * 1.05 + 1e-12);
});

test('is never worse than one cluster, and no point is nearer to another center', () => {
  const points = randomPoints(200, 4, 5);
  const { labels, clusters, inertia } = kMeans(points, 8);
  expect(clusters).toBe(8);
  expect(inertia).toBeLessThan(kMeans(points, 1).inertia);
  const centers = Array.from({ length: clusters }, (_, c) => {
    const members = [...labels.keys()].filter((i) => labels[i] === c);
    return [0, 1, 2, 3].map(
      (d) =>
        members.reduce((sum, i) => sum + (points.values[4 * i + d] as number), 0) / members.length,
    );
  });
  const distance = (i: number, center: number[]): number =>
    center.reduce((sum, x, d) => sum + (x - (points.values[4 * i + d] as number)) ** 2, 0);
  let sum = 0;
  for (const [i, label] of labels.entries()) {
    const distances = centers.map((center) => distance(i, center));
    const own = distances[label] as number;
    expect(own).toBeLessThanOrEqual(Math.min(...distances) + 1e-9);
    sum += own;
  }
  expect(sum).toBeCloseTo(inertia, 6);
});

test('the seed decides', () => {
  const points = randomPoints(300, 2, 7);
  const options = { seed: 4, starts: 1 };
  expect(kMeans(points, 16, options)).toEqual(kMeans(points, 16, options));
  const seeds = [1, 2, 3, 4, 5].map((seed) => kMeans(points, 16, { seed, starts: 1 }).inertia);
  expect(new Set(seeds).size).toBeGreaterThan(1);
});

test('fewer different points than clusters give fewer clusters', () => {
  const values = Float64Array.from([1, 1, 1, 5, 5, 9]);
  const { labels, clusters, inertia } = kMeans({ values, dimensions: 1 }, 6);
  expect({ clusters, inertia }).toEqual({ clusters: 3, inertia: 0 });
  expect(labels[0]).toBe(labels[2]);
  expect(new Set([labels[0], labels[3], labels[5]]).size).toBe(3);
});
