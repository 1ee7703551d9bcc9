import type { Module } from '../../nn/module';

/** Modules of one name, size and method in several layers. */
export interface ModuleGroup {
  /** With `*` in the place of the layer's number. */
  name: string;
  method: string;
  count: number;
  parameters: number;
  bytes: number;
}

/** Modules in the model's order, those of the layers taken together. */
export function groupModules(modules: readonly Module[]): ModuleGroup[] {
  const groups = new Map<string, ModuleGroup>();
  for (const { name, method, parameters, bytes } of modules) {
    const pattern = name.replaceAll(/\.\d+\./g, '.*.');
    const key = `${pattern} ${method} ${parameters}`;
    const group = groups.get(key) ?? {
      name: pattern,
      method,
      count: 0,
      parameters: 0,
      bytes: 0,
    };
    group.count++;
    group.parameters += parameters;
    group.bytes += bytes;
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Each module by itself. */
export function listModules(modules: readonly Module[]): ModuleGroup[] {
  return modules.map(({ name, method, parameters, bytes }) => ({
    name,
    method,
    count: 1,
    parameters,
    bytes,
  }));
}

/** Names of modules that are stacked, shortened: `a.q_proj + k_proj + v_proj`. */
export function shortName(name: string): string {
  const [first = '', ...others] = name.split(' + ');
  return [first, ...others.map((other) => other.slice(other.lastIndexOf('.') + 1))].join(' + ');
}
