import { CheckpointError, FewbitError } from '../errors';
import type { Command, DType } from '../native';
import { elementsOf, hostArray, sizeOf, type Tensor } from '../tensor';
import type { ModuleContext, StoredTensor } from './module';

/** A float tensor of a checkpoint, held on the device as it is used. */
export class Parameter {
  readonly name: string;
  readonly shape: number[];
  readonly dtype: DType;
  readonly #context: ModuleContext;
  #tensor: Tensor | undefined;

  constructor(context: ModuleContext, name: string, shape: number[]) {
    this.#context = context;
    this.name = name;
    this.shape = shape;
    this.dtype = residentDtype(context, expectShape(context, name, shape));
  }

  get parameters(): number {
    return elementsOf(this.shape);
  }

  get bytes(): number {
    return this.parameters * sizeOf(this.dtype);
  }

  get tensor(): Tensor {
    if (!this.#tensor) throw new FewbitError('ERR_FEWBIT_STATE', `${this.name} is not loaded`);
    return this.#tensor;
  }

  async load(): Promise<void> {
    this.#tensor = this.#context.device.allocate(this.dtype, this.shape);
    await loadFloat(this.#context, this.name, this.#tensor);
  }

  dispose(): void {
    this.#tensor?.dispose();
    this.#tensor = undefined;
  }

  stored(): StoredTensor {
    return storedTensor(this.name, this.tensor);
  }
}

/** The dtype in which floats stay in memory: as stored on the CPU, as activations on CUDA. */
export function residentDtype(context: ModuleContext, stored: DType): DType {
  return context.device.type === 'cuda' ? context.activations : stored;
}

/**
 * The stored dtype of a float tensor.
 * @throws CheckpointError when its shape is not the one that the configuration asks for
 */
export function expectShape(context: ModuleContext, name: string, shape: number[]): DType {
  const { dtype, shape: found } = context.source.describe(name);
  if (found && (found.length !== shape.length || found.some((n, i) => n !== shape[i]))) {
    throw new CheckpointError(
      `tensor ${name} has shape [${found.join(', ')}], but the configuration asks for ` +
        `[${shape.join(', ')}]: config.json and the weights do not belong together`,
    );
  }
  return dtype;
}

/** Steps that fill a float tensor, by way of a scratch tensor where the stored dtype differs. */
export async function loadFloat(context: ModuleContext, name: string, into: Tensor): Promise<void> {
  const { device, source } = context;
  const { dtype } = source.describe(name);
  if (dtype === into.dtype) {
    await device.submit([source.load(name, into)]);
    return;
  }
  using scratch = device.allocate(dtype, [...into.shape]);
  await device.submit([source.load(name, scratch), castCommand(scratch, into)]);
}

/** Fills rows `begin .. end` of a float tensor, as `loadFloat`. */
export async function loadRows(
  context: ModuleContext,
  name: string,
  into: Tensor,
  { begin, end }: { begin: number; end: number },
): Promise<void> {
  // A view that is left to the garbage collector would keep the memory after `into` is disposed.
  using rows = into.rows(begin, end);
  await loadFloat(context, name, rows);
}

/** The step that converts between float dtypes. */
export function castCommand(from: Tensor, to: Tensor): Command {
  return { kind: 'run', op: 'cast', tensors: [from.handle, to.handle], attrs: [] };
}

/** Rows `begin .. end` of a contiguous tensor (default all) as something to be saved. */
export function storedTensor(
  name: string,
  tensor: Tensor,
  { begin, end } = { begin: 0, end: tensor.shape[0] as number },
): StoredTensor {
  return {
    name,
    dtype: tensor.dtype,
    shape: [end - begin, ...tensor.shape.slice(1)],
    async read() {
      using view = tensor.rows(begin, end);
      const into = hostArray(view.dtype, view.elements);
      await tensor.device.submit([{ kind: 'read', tensor: view.handle, into }]);
      return into;
    },
  };
}
