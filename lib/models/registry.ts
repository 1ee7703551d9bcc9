import type { ModelConfig } from '../checkpoint/config';
import { bitnet } from './bitnet';
import type { ModelBuilder } from './builder';
import type { Decoder } from './decoder';
import { llama } from './llama';
import { opt } from './opt';

/** Builds the modules of a model from its configuration. To add an architecture: a case here. */
export function buildDecoder(config: ModelConfig, build: ModelBuilder): Decoder {
  switch (config.modelType) {
    case 'llama':
      return llama(config, build);
    case 'bitnet':
      return bitnet(config, build);
    case 'opt':
      return opt(config, build);
  }
}
