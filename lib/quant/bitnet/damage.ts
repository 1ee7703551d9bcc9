import type { ModelConfig } from '../../checkpoint/config';
import type { Module } from '../../nn/module';
import { BitLinear } from './bit-linear';

/**
 * What making a trained model's weights ternary has done to it, in words; undefined when the model
 * was trained so, or has no layers that were ternarized on load.
 */
export function damageOf(model: {
  readonly config: ModelConfig;
  readonly modules: readonly Module[];
}): string | undefined {
  const layers = model.modules.flatMap((one) => (one instanceof BitLinear ? one.errors : []));
  if (model.config.quantization || layers.length === 0) return undefined;
  const mean = layers.reduce((sum, { error }) => sum + error, 0) / layers.length;
  const worst = layers.reduce((most, one) => (one.error > most.error ? one : most));
  const percent = (share: number): string => `${Math.round(100 * share)}%`;
  return (
    `ternary weights differ from the original ones by ${percent(mean)} of their size on average, by ` +
    `${percent(worst.error)} in ${worst.name}. A model that was not trained with them forgets nearly ` +
    'everything (the perplexity of samples/sample-llama goes from 32 to 874): measure the result with ' +
    '`fewbit perplexity`; for few bits after training use gptq'
  );
}
