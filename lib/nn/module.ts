import type { Device } from '../device';
import type { DType } from '../native';
import type { LayerCache } from '../ops';
import type { Tensor } from '../tensor';
import type { WeightSource } from './weight-source';

/** A tensor as it is written to disk; `read` copies it to the host when its turn has come. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: DType;
  readonly shape: readonly number[];
  read(): Promise<ArrayBufferView>;
}

/** What every module of one model shares. */
export interface ModuleContext {
  readonly device: Device;
  /** Dtype of hidden states: f32 on the CPU, f16 or bf16 on CUDA. */
  readonly activations: DType;
  readonly source: WeightSource;
  /** i64[2]: values that went through int8, and all values that could have. */
  readonly int8Stats?: Tensor;
  /** Called in eager mode with the input of every group of linear layers, which it may change. */
  onLinearInput?: ((names: readonly string[], x: Tensor) => void) | undefined;
  /**
   * Called in eager mode before the queries of a layer attend to the cache, which holds the keys and
   * values of the batch by then: q float[T, heads * headDim], rotated, which it may change.
   */
  onAttention?: ((name: string, q: Tensor, cache: LayerCache) => void) | undefined;
}

/** A part of a model that owns weights. It is made from shapes alone and loaded afterwards. */
export interface Module {
  /** Prefix of its tensors on disk. */
  readonly name: string;
  readonly method: string;
  /** Number of weights, however they are stored. */
  readonly parameters: number;
  /** Bytes on the device once loaded. */
  readonly bytes: number;
  load(): Promise<void>;
  dispose(): void;
  /** What `savePretrained` writes. */
  stored(): StoredTensor[];
}
