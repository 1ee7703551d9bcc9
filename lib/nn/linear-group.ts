import type { Tensor } from '../tensor';
import { type LinearModule, type LinearOptions, partRows } from './linear-module';
import type { ModuleContext } from './module';

/**
 * Linear layers that read the same input (q, k and v; gate and up), in the order they were asked
 * for. Layers of one kind are stacked in one module, so that the input is quantized and the kernel
 * launched once; layers of different kinds (some skipped by the quantization) run side by side.
 */
export class LinearGroup {
  readonly modules: readonly LinearModule[];
  readonly names: readonly string[];
  readonly #context: ModuleContext;

  constructor(context: ModuleContext, names: readonly string[], modules: LinearModule[]) {
    this.#context = context;
    this.names = names;
    this.modules = modules;
  }

  /** x float[T, K] to one float[T, outFeatures] per layer; views of a wider matrix where stacked. */
  forward(x: Tensor, options: LinearOptions = {}): Tensor[] {
    this.#context.onLinearInput?.(this.names, x);
    const outputs = new Map<string, Tensor>();
    for (const module of this.modules) {
      const y = module.forward(x, options);
      for (const { part, begin, end } of partRows(module.spec)) {
        outputs.set(part.name, module.spec.parts.length > 1 ? y.columns(begin, end) : y);
      }
    }
    return this.names.map((name) => outputs.get(name) as Tensor);
  }

  /** The output of a group of one. */
  forwardOne(x: Tensor, options: LinearOptions = {}): Tensor {
    return this.forward(x, options)[0] as Tensor;
  }
}
