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

/** The step that converts between float dtypes. */
export function castCommand(from: Tensor, to: Tensor): Command {
  return { kind: 'run', op: 'cast', tensors: [from.handle, to.handle], attrs: [] };
}

/** A contiguous tensor as something to be saved. */
export function storedTensor(name: string, tensor: Tensor): StoredTensor {
  return {
    name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    async read() {
      const into = hostArray(tensor.dtype, tensor.elements);
      await tensor.device.submit([{ kind: 'read', tensor: tensor.handle, into }]);
      return into;
    },
  };
}
