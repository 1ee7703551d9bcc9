import type { Tensor } from '../../tensor';
import { ChannelRanges } from './ranges';
import { ValueSample } from './value-sample';

/** What calibration keeps of an activation: the range of every channel, and some of its rows. */
export class Observed {
  readonly channels: number;
  readonly ranges: ChannelRanges;
  readonly sample: ValueSample;

  constructor(channels: number) {
    this.channels = channels;
    this.ranges = new ChannelRanges(channels);
    this.sample = new ValueSample(channels);
  }

  /** @param rows f32[T, channels] of one window */
  add(rows: Float32Array): void {
    this.ranges.add(rows);
    this.sample.add(rows);
  }

  /** @param x float[T, channels] of one window; rows may be spaced apart */
  addTensor(x: Tensor): void {
    this.add(floatRows(x));
  }
}

/** The values f32[T, channels] of x float[T, channels], whose rows may be spaced apart. */
export function floatRows(x: Tensor): Float32Array {
  const [rows, width] = x.shape as readonly [number, number];
  if (x.strides[0] === width) return x.readFloats();
  const all = new Float32Array(rows * width);
  for (let row = 0; row < rows; row++) all.set(x.rows(row, row + 1).readFloats(), row * width);
  return all;
}
