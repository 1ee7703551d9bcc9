import { llmInt8Accuracy } from './llm-int8-accuracy';
import { llmInt8Example } from './llm-int8-example';
import { llmInt8Golden } from './llm-int8-golden';

describe('the worked example on the CPU', () => llmInt8Example('cpu', 'f32'));
describe('accuracy on the CPU', () => llmInt8Accuracy('cpu', 'f32'));
describe('against bitsandbytes on the CPU', () => llmInt8Golden('cpu', 'f32'));
