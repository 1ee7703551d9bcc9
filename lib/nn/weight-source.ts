import type { Command, DType } from '../native';
import type { Tensor } from '../tensor';

/** Where a model's weights come from: a checkpoint, or noise for benchmarks without one. */
export interface WeightSource {
  has(name: string): boolean;
  /**
   * Dtype and shape as stored; no shape where any would do.
   * @throws CheckpointError when there is no such tensor
   */
  describe(name: string): { dtype: DType; shape?: readonly number[] };
  /** The step that fills `into` with the stored values; dtype and shape must be the stored ones. */
  load(name: string, into: Tensor): Command;
  /** The value of a stored scalar of a few bytes, undefined when there is no such tensor. */
  scalar(name: string): Promise<number | undefined>;
}
