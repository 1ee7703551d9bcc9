/**
 * The whole surface of the native addon, in one place. `src/binding` implements it; nothing else in
 * `lib` knows what the addon looks like. Arguments are checked here only as far as memory safety
 * needs; the classes above (`Device`, `Tensor`, `Program`) give the friendly errors.
 */
import { FewbitError } from './errors';
import { loadAddon } from './load-addon';

/** Element types: IEEE floats, bfloat16 and integers. `f16` and `bf16` travel as `Uint16Array`. */
export type DType = 'f32' | 'f16' | 'bf16' | 'i8' | 'u8' | 'i32' | 'i64';

/** A window on device memory; several may share one storage. */
export interface NativeTensor {
  readonly dtype: DType;
  readonly shape: number[];
  /** Bytes of the elements in the window. */
  readonly byteLength: number;
  /** Another window on the same storage; `offset` and `strides` count elements, last stride 1. */
  view(offset: number, shape: number[], strides: number[]): NativeTensor;
  /** Lets go of the storage; freed when no view, program or pending job uses it. Idempotent. */
  dispose(): void;
}

/** A recorded list of ops over fixed buffers; on CUDA a captured graph. */
export interface NativeProgram {
  readonly operations: number;
  /** Bytes of planned activations and workspace (shared with the device's other programs). */
  readonly arenaBytes: number;
  dispose(): void;
}

export interface NativeRecorder {
  /** A tensor that lives only while the program runs; its place is planned by `finish`. */
  tensor(dtype: DType, shape: number[]): NativeTensor;
  run(op: string, tensors: (NativeTensor | null)[], attrs: number[]): void;
  finish(): NativeProgram;
  dispose(): void;
}

/** A memory-mapped, read-only file. */
export interface NativeFile {
  readonly path: string;
  readonly size: number;
  dispose(): void;
}

/** One step of a job; the steps of a job run in order, off the event loop. */
export type Command =
  | { kind: 'write'; tensor: NativeTensor; data: ArrayBufferView }
  | { kind: 'read'; tensor: NativeTensor; into: ArrayBufferView }
  | { kind: 'run'; op: string; tensors: (NativeTensor | null)[]; attrs: number[] }
  | { kind: 'program'; program: NativeProgram }
  | { kind: 'load'; tensor: NativeTensor; file: NativeFile; offset: number }
  | { kind: 'copy'; from: NativeTensor; to: NativeTensor }
  /**
   * Runs the program once per element of `into` and stores each run's milliseconds (device events on
   * CUDA). `flush` is overwritten before every run so that caches start cold.
   */
  | { kind: 'time'; program: NativeProgram; flush: NativeTensor | null; into: Float64Array };

export interface NativeMemory {
  /** Bytes in tensors and arenas of this device object, now and at most. */
  used: number;
  peak: number;
  /** Bytes the whole device (or the host) has free and in total. */
  free: number;
  total: number;
}

export interface NativeDevice {
  readonly type: 'cpu' | 'cuda';
  readonly name: string;
  /** Allocates zeroed memory. */
  allocate(dtype: DType, shape: number[]): NativeTensor;
  /** Runs one op now (on CUDA: enqueues it). */
  run(op: string, tensors: (NativeTensor | null)[], attrs: number[]): void;
  /** Copies from a contiguous host array of the tensor's size, in stream order; returns when done. */
  write(tensor: NativeTensor, data: ArrayBufferView): void;
  read(tensor: NativeTensor, into: ArrayBufferView): void;
  record(): NativeRecorder;
  submit(commands: Command[]): Promise<void>;
  memory(): NativeMemory;
  /** Waits for the jobs under way, refuses new ones and frees the device's own resources. */
  dispose(): void;
}

export interface NativeCudaDevice {
  index: number;
  name: string;
  computeCapability: string;
  totalBytes: number;
  driverVersion: string;
  runtimeVersion: string;
}

/** What was found on this machine and, for everything not used, why. */
export interface NativeDoctor {
  cpu: { isa: string; features: string[]; threads: number };
  cuda: {
    devices: NativeCudaDevice[];
    /** Path of the CUDA back end, when it was loaded. */
    library?: string;
    cublasLt?: string;
    /** Why CUDA is not used; absent when it is. */
    reason?: string;
  };
}

export interface NativeAddon {
  /** @param name `cpu`, `cuda` or `cuda:N`; @param threads of a CPU device, 0 = one per core */
  openDevice(name: string, threads: number): NativeDevice;
  openFile(path: string): NativeFile;
  doctor(): NativeDoctor;
  /** Names of all ops, and of those that the CUDA back end implements (empty if it is not loaded). */
  operations(): { cpu: string[]; cuda: string[] };
  /** The class that native errors are instances of, constructed with (code, message). */
  setErrorClass(errorClass: new (code: string, message: string) => Error): void;
}

let addon: NativeAddon | undefined;

/** The addon, loaded at first use. */
export function native(): NativeAddon {
  if (!addon) {
    addon = loadAddon() as NativeAddon;
    addon.setErrorClass(FewbitError);
  }
  return addon;
}
