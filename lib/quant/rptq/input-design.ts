import type { AffineGrid } from './affine';
import { type ClusterGridOptions, clusterGrid } from './cluster-grid';
import type { ClusterPlan } from './cluster-plan';
import { clusterBounds, clusterChannels } from './clusters';
import { dividedExtremes } from './equalization';
import type { Observed } from './observed';
import type { Extremes } from './ranges';

/** How the input of linear layers is reordered and quantized. */
export interface InputDesign {
  /** order[j] = the original channel that stands at place j. */
  readonly order: Int32Array;
  /** Channels of each cluster, in that order. */
  readonly sizes: readonly number[];
  /** One for each cluster; absent for 16 bits. */
  readonly grids?: readonly AffineGrid[];
  /** f32[K] by place: what a channel is divided by where it is made; absent where by nothing. */
  readonly divisors?: Float32Array;
  /** Width of the blocks of channels that are rotated before they are quantized; absent for none. */
  readonly rotation?: number;
}

export interface InputOptions extends ClusterGridOptions {
  plan: ClusterPlan;
  bits: number;
}

/** R1, R4 and R5: clusters over all channels. */
export function designInput(observed: Observed, options: InputOptions): InputDesign {
  const { count, options: how } = options.plan;
  return withGrids(observed, clusterChannels([observed.ranges.overall()], count, how), options);
}

/** The same for an input of 16 bits whose channels are divided: by so much each, in their own order. */
export function designDivided(
  { ranges }: Observed,
  divisors: Float32Array,
  { count, options }: ClusterPlan,
): InputDesign {
  const extremes = dividedExtremes(ranges.overall(), divisors);
  const clusters = clusterChannels([extremes], count, options);
  return {
    ...clusters,
    divisors: Float32Array.from(clusters.order, (k) => divisors[k] as number),
  };
}

/**
 * R3: clusters within each head. The query heads of a group read the values of one head, whose order
 * they share: their channels are clustered together.
 * @param kvHeads of the values
 */
export function designHeads(
  observed: Observed,
  kvHeads: number,
  options: InputOptions,
): InputDesign & { readonly valueOrder: Int32Array } {
  const { width, count, options: how } = options.plan;
  const heads = observed.channels / width;
  const group = heads / kvHeads;
  const all = observed.ranges.overall();
  const order = new Int32Array(observed.channels);
  const valueOrder = new Int32Array(kvHeads * width);
  const sizes: number[] = [];
  for (let kv = 0; kv < kvHeads; kv++) {
    const sharing = Array.from({ length: group }, (_, i) => kv * group + i);
    const own = sharing.map((head) => headOf(all, head, width));
    const clusters = clusterChannels(own, count, how);
    valueOrder.set(
      clusters.order.map((k) => kv * width + k),
      kv * width,
    );
    for (const head of sharing) {
      order.set(
        clusters.order.map((k) => head * width + k),
        head * width,
      );
      sizes.push(...clusters.sizes);
    }
  }
  return { ...withGrids(observed, { order, sizes }, options), valueOrder };
}

/** Values of a cluster by channel: f32[2, K], scales and below them zero points. */
export function channelGrid({ sizes, grids = [] }: Omit<InputDesign, 'order'>): Float32Array {
  const bounds = clusterBounds(sizes);
  const channels = bounds.at(-1) as number;
  const values = new Float32Array(2 * channels);
  for (const [c, { scale, zero }] of grids.entries()) {
    values.fill(scale, bounds[c], bounds[c + 1]);
    values.fill(zero, channels + (bounds[c] as number), channels + (bounds[c + 1] as number));
  }
  return values;
}

function withGrids(
  observed: Observed,
  { order, sizes }: Omit<InputDesign, 'grids'>,
  { bits, metric }: InputOptions,
): InputDesign {
  if (bits === 16) return { order, sizes };
  const bounds = clusterBounds(sizes);
  const grids = sizes.map((_, c) =>
    clusterGrid(observed, order.subarray(bounds[c], bounds[c + 1]), bits, metric ? { metric } : {}),
  );
  return { order, sizes, grids };
}

function headOf({ min, max }: Extremes, head: number, width: number): Extremes {
  const [begin, end] = [head * width, (head + 1) * width];
  return { min: min.subarray(begin, end), max: max.subarray(begin, end) };
}
