import type { Transformer } from '../../models/transformer';
import { Linear } from '../../nn/linear';
import { partRows } from '../../nn/linear-module';
import type { Module } from '../../nn/module';
import { isHead } from './plan';

/** The modules of one decoder layer. */
export function layerModules({ layers }: Transformer, layer: number): readonly Module[] {
  return layers[layer] as readonly Module[];
}

/** Embeddings and what follows the last layer, but for the head. */
export function outerModules({ layers, modules }: Transformer): Module[] {
  const inner = new Set(layers.flat());
  return modules.filter((module) => !inner.has(module) && !isHead(module));
}

/** Runs `body` while the weights of some modules are there. */
export async function withLoaded(
  modules: readonly Module[],
  body: () => Promise<void>,
): Promise<void> {
  try {
    for (const module of modules) await module.load();
    await body();
  } finally {
    for (const module of modules) module.dispose();
  }
}

/** The rows of a stacked matrix that belong to a linear layer. */
export function rowsOf(
  { modules }: Transformer,
  name: string,
): { module: Linear; begin: number; end: number } {
  for (const module of modules) {
    if (!(module instanceof Linear)) continue;
    const found = partRows(module.spec).find(({ part }) => part.name === name);
    if (found) return { module, begin: found.begin, end: found.end };
  }
  throw new Error(`no module has the layer ${name}`);
}
