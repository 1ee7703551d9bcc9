import type { Device } from './device';
import { DisposedError, OptionsError } from './errors';
import type { DType, NativeTensor } from './native';

/** Typed arrays that tensors are written from and read into. 16-bit floats travel as raw bits. */
export type HostArray =
  | Float32Array
  | Uint16Array
  | Int8Array
  | Uint8Array
  | Int32Array
  | BigInt64Array;

const HOST_ARRAYS = {
  f32: Float32Array,
  f16: Uint16Array,
  bf16: Uint16Array,
  i8: Int8Array,
  u8: Uint8Array,
  i32: Int32Array,
  i64: BigInt64Array,
} as const;

type HostArrayOf<T extends DType> = InstanceType<(typeof HOST_ARRAYS)[T]>;

/** Bytes per element. */
export function sizeOf(dtype: DType): number {
  return HOST_ARRAYS[dtype].BYTES_PER_ELEMENT;
}

/** Product of the extents. */
export function elementsOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

/** An uninitialised host array that holds `elements` values of a dtype. */
export function hostArray<T extends DType>(dtype: T, elements: number): HostArrayOf<T> {
  return new HOST_ARRAYS[dtype](elements) as HostArrayOf<T>;
}

/**
 * A handle on memory of one device: dtype, shape and (native) storage. Views share storage.
 * `dispose()` or `using` frees it; a garbage-collected tensor is freed too, only later.
 */
export class Tensor {
  readonly device: Device;
  readonly dtype: DType;
  readonly shape: readonly number[];
  /** Elements between neighbours along each axis; the last is 1. */
  readonly strides: readonly number[];
  #handle: NativeTensor | undefined;

  /** @internal Use `Device.allocate`, `Device.empty` or an op. */
  constructor(device: Device, handle: NativeTensor, strides?: readonly number[]) {
    this.device = device;
    this.dtype = handle.dtype;
    this.shape = handle.shape;
    this.strides = strides ?? contiguousStrides(handle.shape);
    this.#handle = handle;
  }

  /** @internal */
  get handle(): NativeTensor {
    if (!this.#handle) throw new DisposedError(`tensor ${this}`);
    return this.#handle;
  }

  get elements(): number {
    return elementsOf(this.shape);
  }

  get byteLength(): number {
    return this.elements * sizeOf(this.dtype);
  }

  /** Columns `begin .. end` of a matrix, as a view whose rows stay as far apart as before. */
  columns(begin: number, end: number): Tensor {
    const [rows, cols] = this.matrixShape();
    if (!(begin >= 0 && begin <= end && end <= cols)) {
      throw new OptionsError(`columns ${begin}..${end} are not within the ${cols} of ${this}`);
    }
    return this.view(begin, [rows, end - begin], [this.strides[0] as number, 1]);
  }

  /** Rows `begin .. end` of the first axis, as a view. */
  rows(begin: number, end: number): Tensor {
    const count = this.shape[0] ?? 0;
    if (!(begin >= 0 && begin <= end && end <= count)) {
      throw new OptionsError(`rows ${begin}..${end} are not within the ${count} of ${this}`);
    }
    const stride = this.strides[0] as number;
    return this.view(begin * stride, [end - begin, ...this.shape.slice(1)], [...this.strides]);
  }

  /** The same contiguous elements under another shape. */
  reshape(shape: number[]): Tensor {
    if (elementsOf(shape) !== this.elements) {
      throw new OptionsError(`${this} cannot take the shape [${shape.join(', ')}]`);
    }
    return this.view(0, shape, contiguousStrides(shape));
  }

  /** Copies host values in and waits. The array's type must fit the dtype (16-bit: raw bits). */
  write(data: HostArray): this {
    this.checkHost(data);
    this.device.native.write(this.handle, data);
    return this;
  }

  /** Copies the (contiguous) elements out and waits. */
  read(): HostArray {
    const into = hostArray(this.dtype, this.elements);
    this.device.native.read(this.handle, into);
    return into;
  }

  /** The elements as float32, whatever the float dtype. */
  readFloats(): Float32Array {
    const raw = this.read();
    if (raw instanceof Float32Array) return raw;
    if (this.dtype !== 'f16' && this.dtype !== 'bf16') {
      throw new OptionsError(`${this} does not hold floats`);
    }
    const single = this.device.allocate('f32', [...this.shape]);
    this.device.native.run('cast', [this.handle, single.handle], []);
    const floats = single.read() as Float32Array;
    single.dispose();
    return floats;
  }

  /** Throws unless `data` is of the right type and length to be written to this tensor. */
  checkHost(data: ArrayBufferView): void {
    const expected = HOST_ARRAYS[this.dtype];
    const found = ArrayBuffer.isView(data)
      ? `${data.constructor.name} of ${data.byteLength} bytes`
      : typeof data;
    if (found !== `${expected.name} of ${this.byteLength} bytes`) {
      throw new OptionsError(`${this} takes ${expected.name}(${this.elements}), got ${found}`);
    }
  }

  dispose(): void {
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  toString(): string {
    return `${this.dtype}[${this.shape.join(', ')}]`;
  }

  private view(offset: number, shape: number[], strides: number[]): Tensor {
    return this.device.adopt(this.handle.view(offset, shape, strides), strides);
  }

  private matrixShape(): [number, number] {
    if (this.shape.length !== 2) throw new OptionsError(`${this} is not a matrix`);
    return this.shape as unknown as [number, number];
  }
}

function contiguousStrides(shape: readonly number[]): number[] {
  const strides = new Array<number>(shape.length).fill(1);
  for (let axis = shape.length - 2; axis >= 0; axis--) {
    strides[axis] = (strides[axis + 1] as number) * (shape[axis + 1] as number);
  }
  return strides;
}
