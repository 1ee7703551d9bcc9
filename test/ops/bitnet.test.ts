import { bitnetSuite } from './bitnet-suite';

describe('BitNet ops on the CPU', () => bitnetSuite('cpu', 'f32'));
