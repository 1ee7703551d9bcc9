import { Tensor } from '../tensor';
import { computed, type LinearInput } from './linear-input';
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

  /**
   * x float[T, K], or the steps that make it, to one float[T, outFeatures] per layer; views of a
   * wider matrix where stacked.
   */
  forward(input: Tensor | LinearInput, options: LinearOptions = {}): Tensor[] {
    const [only, other] = this.modules;
    if (!(input instanceof Tensor) && !other && only?.forwardFrom && !this.#context.onLinearInput) {
      return this.parts([[only, only.forwardFrom(input, options)]]);
    }
    const x = input instanceof Tensor ? input : computed(input);
    this.#context.onLinearInput?.(this.names, x);
    return this.parts(this.modules.map((module) => [module, module.forward(x, options)]));
  }

  /** The output of a group of one. */
  forwardOne(input: Tensor | LinearInput, options: LinearOptions = {}): Tensor {
    return this.forward(input, options)[0] as Tensor;
  }

  /**
   * Adds the output of a group of one to `residual`, in place, or returns it for the next norm to
   * add, whichever takes fewer steps.
   */
  addOne(input: LinearInput, residual: Tensor): Tensor | undefined {
    const [only, other] = this.modules;
    if (other || !only?.addFrom || this.#context.onLinearInput) return this.forwardOne(input);
    only.addFrom(input, residual);
    return undefined;
  }

  private parts(results: [LinearModule, Tensor][]): Tensor[] {
    const outputs = new Map<string, Tensor>();
    for (const [module, y] of results) {
      for (const { part, begin, end } of partRows(module.spec)) {
        outputs.set(part.name, module.spec.parts.length > 1 ? y.columns(begin, end) : y);
      }
    }
    return this.names.map((name) => outputs.get(name) as Tensor);
  }
}
