import { randomNumbers } from '../../eval/random';

/** Points of `dimensions` coordinates each, one after the other. */
export interface Points {
  readonly values: Float64Array;
  readonly dimensions: number;
}

export interface KMeansOptions {
  seed?: number;
  /** Starts from different centers, of which the best result is kept. */
  starts?: number;
  iterations?: number;
}

export interface KMeansResult {
  /** Cluster of every point, from 0; there may be fewer clusters than asked for. */
  readonly labels: Int32Array;
  readonly clusters: number;
  /** Sum of the squared distances of the points to the centers of their clusters. */
  readonly inertia: number;
}

/**
 * KMeans by Lloyd's iterations from kmeans++ centers; the same seed gives the same clusters. Points
 * that coincide share a cluster, so fewer different points than `count` give fewer clusters.
 */
export function kMeans(points: Points, count: number, options: KMeansOptions = {}): KMeansResult {
  const { seed = 0, starts = 10, iterations = 300 } = options;
  const random = randomNumbers(seed);
  let best: KMeansResult | undefined;
  for (let start = 0; start < starts; start++) {
    const found = lloyd(points, firstCenters(points, count, random), iterations);
    if (!best || found.inertia < best.inertia) best = found;
  }
  return best as KMeansResult;
}

/** Centers drawn from the points, each with a chance that grows with its distance to those before. */
function firstCenters(points: Points, count: number, random: () => number): Float64Array {
  const { values, dimensions } = points;
  const n = values.length / dimensions;
  const centers: number[] = [];
  const distance = new Float64Array(n).fill(Number.POSITIVE_INFINITY);
  let next = Math.floor(random() * n);
  while (centers.length < count * dimensions) {
    const center = values.subarray(next * dimensions, (next + 1) * dimensions);
    centers.push(...center);
    let total = 0;
    for (let i = 0; i < n; i++) {
      distance[i] = Math.min(distance[i] as number, squaredDistance(points, i, center, 0));
      total += distance[i] as number;
    }
    if (total === 0) break;
    next = draw(distance, random() * total);
  }
  return Float64Array.from(centers);
}

/** The index at which the running sum of the weights passes `target`; never one of weight 0. */
function draw(weights: Float64Array, target: number): number {
  let sum = 0;
  let last = 0;
  for (const [i, weight] of weights.entries()) {
    if (weight === 0) continue;
    sum += weight;
    last = i;
    if (sum > target) break;
  }
  return last;
}

function lloyd(points: Points, centers: Float64Array, iterations: number): KMeansResult {
  const { values, dimensions } = points;
  const labels = new Int32Array(values.length / dimensions).fill(-1);
  for (let i = 0; i < iterations && assign(points, centers, labels); i++) {
    moveCenters(points, centers, labels);
  }
  let inertia = 0;
  for (const [i, label] of labels.entries()) {
    inertia += squaredDistance(points, i, centers, label * dimensions);
  }
  return { ...withoutEmpty(labels), inertia };
}

/** Gives every point to its nearest center; whether any changed. */
function assign(points: Points, centers: Float64Array, labels: Int32Array): boolean {
  const { dimensions } = points;
  const count = centers.length / dimensions;
  let changed = false;
  for (const [i, old] of labels.entries()) {
    let label = 0;
    let nearest = Number.POSITIVE_INFINITY;
    for (let c = 0; c < count; c++) {
      const distance = squaredDistance(points, i, centers, c * dimensions);
      if (distance < nearest) [nearest, label] = [distance, c];
    }
    labels[i] = label;
    changed ||= label !== old;
  }
  return changed;
}

/** Moves centers to the means of their points; one without points stays. */
function moveCenters(
  { values, dimensions }: Points,
  centers: Float64Array,
  labels: Int32Array,
): void {
  const sums = new Float64Array(centers.length);
  const sizes = new Int32Array(centers.length / dimensions);
  for (const [i, label] of labels.entries()) {
    sizes[label] = (sizes[label] as number) + 1;
    for (let d = 0; d < dimensions; d++) {
      const at = label * dimensions + d;
      sums[at] = (sums[at] as number) + (values[i * dimensions + d] as number);
    }
  }
  for (const [at, sum] of sums.entries()) {
    const size = sizes[Math.floor(at / dimensions)] as number;
    if (size > 0) centers[at] = sum / size;
  }
}

function squaredDistance(
  { values, dimensions }: Points,
  point: number,
  to: Float64Array,
  offset: number,
): number {
  let sum = 0;
  for (let d = 0; d < dimensions; d++) {
    const difference = (values[point * dimensions + d] as number) - (to[offset + d] as number);
    sum += difference * difference;
  }
  return sum;
}

/** Labels renumbered so that every cluster has a point. */
function withoutEmpty(labels: Int32Array): { labels: Int32Array; clusters: number } {
  const used = [...new Set(labels)].sort((a, b) => a - b);
  const renumbered = new Map(used.map((label, i) => [label, i]));
  return { labels: labels.map((label) => renumbered.get(label) as number), clusters: used.length };
}
