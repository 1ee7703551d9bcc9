import { CheckpointError, UnsupportedError } from '../errors';
import type { Architecture } from './configs/define';
import type { ModelConfig } from './configs/registry';
import { architectures } from './configs/registry';
import { isJsonObject } from './json';

export type { BitnetConfig } from './configs/bitnet';
export type { LlamaConfig } from './configs/llama';
export type { OptConfig } from './configs/opt';
export type { ModelConfig } from './configs/registry';
export type { RopeConfig } from './configs/rope';

/**
 * Reads the contents of a config.json, in the older or the newer form. Missing keys take the values
 * that transformers' configuration classes give them.
 * @param where names the source in errors
 * @throws UnsupportedError for an architecture, activation or rope type that is not implemented
 * @throws CheckpointError naming every key whose value is wrong
 */
export function parseConfig(raw: unknown, where = 'config.json'): ModelConfig {
  if (!isJsonObject(raw)) throw new CheckpointError(`${where} does not hold a JSON object`);
  const { model_type: modelType, architectures: classes } = raw;
  const named = Array.isArray(classes) ? classes.map(String) : [];
  if (typeof modelType !== 'string' && named.length === 0) {
    throw new CheckpointError(
      `${where} has neither model_type nor architectures: it is not a model's configuration`,
    );
  }
  const candidates = architectures.filter((candidate) =>
    typeof modelType === 'string' ? candidate.modelType === modelType : hasClass(candidate, named),
  );
  // Some classes share their model_type with another.
  const architecture = candidates.find((one) => hasClass(one, named)) ?? candidates[0];
  if (!architecture) {
    const types = architectures.map((candidate) => candidate.modelType);
    const supported = [...new Set(types)].join(', ');
    const found = typeof modelType === 'string' ? modelType : named.join(', ');
    throw new UnsupportedError(
      `${where}: the architecture '${found}' is not supported; supported: ${supported}`,
    );
  }
  if (named.length > 0 && !hasClass(architecture, named)) {
    throw new UnsupportedError(
      `${where} is of a ${named.join(', ')}; of the ${architecture.modelType} family only ` +
        `${architecture.classes.join(', ')} is supported`,
    );
  }
  return architecture.parse(raw, where);
}

/** Early conversions wrote LLaMAForCausalLM. */
function hasClass(architecture: Architecture<ModelConfig>, named: readonly string[]): boolean {
  const lower = named.map((name) => name.toLowerCase());
  return architecture.classes.some((name) => lower.includes(name.toLowerCase()));
}
