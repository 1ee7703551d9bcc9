import { cacheSuite } from './cache-suite';
import { GOLDEN_MODELS } from './golden-models';

describe.each(GOLDEN_MODELS)('%s on the CPU', (name) => cacheSuite(name, { device: 'cpu' }, 1e-5));

describe('llama-gqa in int8 without decomposition on the CPU', () => {
  const quantization = { method: 'llm.int8', threshold: 0 } as const;
  cacheSuite('llama-gqa', { device: 'cpu', quantization }, 1e-5);
});
