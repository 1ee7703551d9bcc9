export { Engine } from './engine';
export type { EngineOptions, EngineSizes, KvGrids } from './engine-options';
export type { EngineUsage } from './engine-usage';
export type { FinishReason, GeneratedToken, Generation, GenerationResult } from './generation';
export { gridBytes, pageBytes } from './kv-cache';
export type { GenerationOptions } from './sampling-params';
export type { ForwardResult } from './scorer';
export type { StreamDecoder } from './stream-decoder';
export type { TextSource } from './text-output';
