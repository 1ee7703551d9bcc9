import type { ClusterOptions } from './clusters';
import type { RptqConfig } from './config';

/** Widths of weight groups that every kernel takes, widest first. */
const GROUP_SIZES = [128, 64, 32];
/** What groups, and clusters that are made for them, are multiples of. */
const UNIT = 32;

/** How the channels of an activation are clustered: known from shapes alone. */
export interface ClusterPlan {
  /** Channels that stay together: those of a head; all, where there are no heads. */
  readonly width: number;
  /** Most clusters in so many channels. */
  readonly count: number;
  readonly options: Required<ClusterOptions>;
  /** Channels, in their new order, that share a scale in the weight that reads them. */
  readonly groupSize: number;
}

/**
 * @param channels of the activation, a multiple of 32
 * @param width of a head; all channels where there are none
 */
export function clusterPlan(
  channels: number,
  width: number,
  { groupSize, clusters, headClusters, clusterSizes, clusterSeed }: RptqConfig,
): ClusterPlan {
  const wanted = width === channels ? clusters : headClusters;
  const balanced = clusterSizes === 'balanced';
  const unit = groupSize && width % groupSize === 0 ? groupSize : commonDivisor(width, UNIT);
  const count = Math.min(wanted, balanced ? width / unit : width);
  const smallest = balanced ? unit * Math.floor(width / unit / count) : width / count;
  const fits = (size: number): boolean =>
    channels % size === 0 && (balanced ? divides(size, width, unit, count) : size <= smallest);
  const given = groupSize && channels % groupSize === 0 ? groupSize : undefined;
  return {
    width,
    count,
    options: {
      sizes: balanced ? 'equal' : 'kmeans',
      multiple: balanced ? unit : 1,
      seed: clusterSeed,
    },
    groupSize: given ?? GROUP_SIZES.find(fits) ?? UNIT,
  };
}

/** Whether `count` clusters of whole units are all multiples of a size. */
function divides(size: number, width: number, unit: number, count: number): boolean {
  const isEven = (width / unit) % count === 0;
  return isEven ? (width / count) % size === 0 : unit % size === 0;
}

function commonDivisor(a: number, b: number): number {
  return b === 0 ? a : commonDivisor(b, a % b);
}
