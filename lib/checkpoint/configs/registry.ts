import { bitnet, oneBitLlm } from './bitnet';
import type { Architecture } from './define';
import { llama } from './llama';
import { opt } from './opt';

/** The architectures that can be loaded. To add one: its file in this folder and its name here. */
const ARCHITECTURES = { llama, opt, bitnet, oneBitLlm };

/** The configuration of a supported model; `modelType` says which. */
export type ModelConfig = ReturnType<(typeof ARCHITECTURES)[keyof typeof ARCHITECTURES]['parse']>;

export const architectures: readonly Architecture<ModelConfig>[] = Object.values(ARCHITECTURES);
