import { Attention, type AttentionShape } from '../nn/attention';
import { Embedding } from '../nn/embedding';
import { Linear, TiedLinear } from '../nn/linear';
import { LinearGroup } from '../nn/linear-group';
import type { LinearModule, LinearPart, LinearSpec } from '../nn/linear-module';
import type { Module, ModuleContext } from '../nn/module';
import { LayerNorm, RmsNorm } from '../nn/norm';
import type { LinearRole, QuantizationMethod } from '../quant/method';

export interface LinearShape {
  in: number;
  out: number;
  bias?: boolean;
}

/**
 * Makes a model's modules, in the order in which the architecture names them, and keeps the list:
 * loading, measuring and saving a model are loops over it. Nothing is read but shapes.
 */
export class ModelBuilder {
  readonly modules: Module[] = [];
  /** The modules of each layer of the stack, which are loaded and disposed together. */
  readonly layerModules: Module[][] = [];
  readonly context: ModuleContext;
  readonly #methods: readonly QuantizationMethod[];

  constructor(context: ModuleContext, methods: readonly QuantizationMethod[]) {
    this.context = context;
    this.#methods = methods;
  }

  /** Makes the layers of the stack one after the other and keeps apart which modules are whose. */
  layers<T>(count: number, make: (index: number) => T): T[] {
    return Array.from({ length: count }, (_, index) => {
      const begin = this.modules.length;
      const layer = make(index);
      this.layerModules.push(this.modules.slice(begin));
      return layer;
    });
  }

  embedding(name: string, rows: number, width: number): Embedding {
    return this.add(new Embedding(this.context, name, rows, width));
  }

  rmsNorm(name: string, size: number, eps: number): RmsNorm {
    return this.add(new RmsNorm(this.context, name, size, eps));
  }

  layerNorm(name: string, size: number, eps: number, affine = true): LayerNorm {
    return this.add(new LayerNorm(this.context, name, size, eps, affine));
  }

  /** The attention of a layer: a module of its own only where the checkpoint has something for it. */
  attention(name: string, shape: AttentionShape): Attention {
    const widths = this.#methods.find(({ cache }) => cache)?.cache;
    const attention = new Attention(this.context, name, shape, widths);
    return widths ? this.add(attention) : attention;
  }

  linear(name: string, shape: LinearShape): LinearGroup {
    return this.linears([{ name, outFeatures: shape.out }], shape.in, shape.bias);
  }

  /** Layers with the same input; each is given the class that its tensors on disk ask for. */
  linears(parts: LinearPart[], inFeatures: number, bias = false): LinearGroup {
    const byKind = new Map<QuantizationMethod | undefined, LinearPart[]>();
    for (const part of parts) {
      const kind = this.methodFor(part.name, 'layer');
      byKind.set(kind, [...(byKind.get(kind) ?? []), part]);
    }
    const modules = [...byKind].map(([kind, own]) =>
      this.add(this.linearModule(kind, { parts: own, inFeatures, bias })),
    );
    const names = parts.map((part) => part.name);
    return new LinearGroup(this.context, names, modules);
  }

  /**
   * The output projection; with `tied`, the one that shares the embedding's weight, unless it is
   * stored quantized on its own.
   */
  head(name: string, shape: LinearShape, tied?: Embedding): LinearModule {
    const spec = { parts: [{ name, outFeatures: shape.out }], inFeatures: shape.in, bias: false };
    const stored = this.storedIn(name);
    if (!tied || stored) {
      return this.add(this.linearModule(stored ?? this.methodFor(name, 'head'), spec));
    }
    const kind = this.methodFor(tied.name, 'head');
    if (!kind) return this.add(new TiedLinear(name, tied.table));
    const head = this.add(this.linearModule(kind, { ...spec, weightName: tied.name }));
    if (head.sharedTable) tied.share(head.sharedTable);
    return head;
  }

  private methodFor(name: string, role: LinearRole): QuantizationMethod | undefined {
    return this.storedIn(name) ?? this.#methods.find((method) => method.quantizes(name, role));
  }

  /** The method whose format the checkpoint holds a layer in. */
  private storedIn(name: string): QuantizationMethod | undefined {
    return this.#methods.find((method) => method.isStored(this.context, name));
  }

  private linearModule(kind: QuantizationMethod | undefined, spec: LinearSpec): LinearModule {
    return kind ? kind.create(this.context, spec) : new Linear(this.context, spec);
  }

  private add<T extends Module>(module: T): T {
    this.modules.push(module);
    return module;
  }
}
