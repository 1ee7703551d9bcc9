import { DisposedError, FewbitError, OptionsError } from './errors';
import type { Command, DType, NativeDevice, NativeProgram, NativeRecorder } from './native';
import { native } from './native';
import { Tensor } from './tensor';

/** `auto` takes the first CUDA device that works, else the CPU. */
export type DeviceName = 'auto' | 'cpu' | 'cuda' | `cuda:${number}`;

export interface DeviceOptions {
  /** Threads of a CPU device; default one per core (`FEWBIT_THREADS` overrides). */
  threads?: number;
}

/** A recorded list of ops, replayed with one native call. */
export class Program {
  #handle: NativeProgram | undefined;
  readonly operations: number;
  /** Bytes of activations and workspace, in memory that the device's programs share. */
  readonly arenaBytes: number;

  /** @internal Use `Device.record`. */
  constructor(handle: NativeProgram) {
    this.#handle = handle;
    this.operations = handle.operations;
    this.arenaBytes = handle.arenaBytes;
  }

  /** @internal */
  get handle(): NativeProgram {
    if (!this.#handle) throw new DisposedError('program');
    return this.#handle;
  }

  dispose(): void {
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/**
 * Memory and execution on the CPU or one GPU. Each device object has a thread of its own, on which
 * jobs (`submit`) run in order; eager ops run at once on the caller's thread.
 */
export class Device {
  readonly type: 'cpu' | 'cuda';
  readonly name: string;
  #native: NativeDevice | undefined;
  #recorder: NativeRecorder | undefined;
  #scope: Tensor[] | undefined;

  private constructor(handle: NativeDevice) {
    this.#native = handle;
    this.type = handle.type;
    this.name = handle.name;
  }

  /**
   * @throws FewbitError `ERR_FEWBIT_DEVICE` when a named CUDA device cannot be used, with the reason.
   */
  static open(name: DeviceName = 'auto', options: DeviceOptions = {}): Device {
    return new Device(native().openDevice(resolveDeviceName(name), threadCount(options)));
  }

  /** @internal */
  get native(): NativeDevice {
    if (!this.#native) throw new DisposedError(`device ${this.name}`);
    return this.#native;
  }

  get recording(): boolean {
    return this.#recorder !== undefined;
  }

  /** Zeroed memory that stays until it is disposed, also while recording. */
  allocate(dtype: DType, shape: number[]): Tensor {
    checkShape(shape);
    return new Tensor(this, this.native.allocate(dtype, shape));
  }

  /**
   * Memory for an op's output. While recording it is planned: it holds values only inside the
   * program. In a `scope` it is freed when the scope ends.
   */
  empty(dtype: DType, shape: number[]): Tensor {
    checkShape(shape);
    return this.adopt((this.#recorder ?? eager(this.native)).tensor(dtype, shape));
  }

  /** A tensor of the given host values. */
  from(dtype: DType, shape: number[], data: Parameters<Tensor['write']>[0]): Tensor {
    return this.allocate(dtype, shape).write(data);
  }

  /** Runs an op now, or records it. */
  run(op: string, tensors: (Tensor | undefined)[], attrs: number[] = []): void {
    for (const tensor of tensors) {
      if (tensor && tensor.device !== this) {
        throw new OptionsError(`${op}: ${tensor} lives on another device object`);
      }
    }
    const handles = tensors.map((tensor) => tensor?.handle ?? null);
    (this.#recorder ?? this.native).run(op, handles, attrs);
  }

  /** Records the ops that `body` runs on this device. Nothing is computed until it is submitted. */
  record(body: () => void): Program {
    if (this.#recorder) throw new FewbitError('ERR_FEWBIT_STATE', 'already recording');
    const recorder = this.native.record();
    this.#recorder = recorder;
    try {
      try {
        this.scope(body);
      } finally {
        this.#recorder = undefined;
      }
      return new Program(recorder.finish());
    } finally {
      // What failed would keep the memory of its tensors until it is collected.
      recorder.dispose();
    }
  }

  /** Frees the tensors made by ops inside `body`, but for the one it returns. */
  scope<T>(body: () => T): T {
    const outer = this.#scope;
    const mine: Tensor[] = [];
    this.#scope = mine;
    try {
      const result = body();
      const kept: unknown[] = Array.isArray(result) ? result : [result];
      for (const tensor of mine) {
        if (kept.includes(tensor)) outer?.push(tensor);
        else tensor.dispose();
      }
      return result;
    } catch (error) {
      for (const tensor of mine) tensor.dispose();
      throw error;
    } finally {
      this.#scope = outer;
    }
  }

  /** Runs the steps in order on the device's own thread; resolves when the last is done. */
  submit(commands: Command[]): Promise<void> {
    return this.native.submit(commands);
  }

  /** Bytes used by this object's tensors (now, peak), and free and total on the device. */
  memory(): { used: number; peak: number; free: number; total: number } {
    return this.native.memory();
  }

  /** @internal Wraps a native handle so that the current scope owns it. */
  adopt(handle: ConstructorParameters<typeof Tensor>[1], strides?: readonly number[]): Tensor {
    const tensor = new Tensor(this, handle, strides);
    this.#scope?.push(tensor);
    return tensor;
  }

  /** Waits for jobs under way and frees what the device holds. Tensors of it are unusable after. */
  dispose(): void {
    this.#native?.dispose();
    this.#native = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

function eager(device: NativeDevice): Pick<NativeRecorder, 'tensor'> {
  return { tensor: (dtype, shape) => device.allocate(dtype, shape) };
}

function checkShape(shape: number[]): void {
  if (shape.length > 4 || !shape.every((extent) => Number.isSafeInteger(extent) && extent >= 0)) {
    throw new OptionsError(`[${shape.join(', ')}] is not a shape: at most 4 whole numbers >= 0`);
  }
}

function threadCount({ threads }: DeviceOptions): number {
  const wanted = threads ?? Number(process.env.FEWBIT_THREADS ?? 0);
  if (!Number.isSafeInteger(wanted) || wanted < 0 || wanted > 1024) {
    throw new OptionsError(`threads must be a whole number from 0 (one per core) to 1024`);
  }
  return wanted;
}

/** Turns `auto` into a real name; `FEWBIT_DEVICE` decides what `auto` means. */
export function resolveDeviceName(name: DeviceName): string {
  const forced = process.env.FEWBIT_DEVICE;
  const wanted = name === 'auto' && forced ? forced : name;
  if (!/^(auto|cpu|cuda(:\d+)?)$/.test(wanted)) {
    throw new OptionsError(`unknown device '${wanted}': use auto, cpu, cuda or cuda:N`);
  }
  if (wanted !== 'auto') return wanted;
  return native().doctor().cuda.devices.length > 0 ? 'cuda' : 'cpu';
}
