export { type CalibrationData, calibrationWindows } from './calibration';
export { type Checkpoint, openCheckpoint } from './checkpoint/checkpoint';
export { type ModelConfig, parseConfig } from './checkpoint/config';
export { resolveModel } from './checkpoint/hub';
export { PRESET_NAMES, presetConfig, presetFields } from './checkpoint/presets';
export { AutoTokenizer, type ChatMessage, type Tokenizer } from './checkpoint/tokenizer';
export { Device, type DeviceName, Program } from './device';
export { type DoctorReport, doctor } from './doctor';
export {
  Engine,
  type EngineOptions,
  type FinishReason,
  type ForwardResult,
  type GeneratedToken,
  type Generation,
  type GenerationOptions,
  type GenerationResult,
  type KvGrids,
} from './engine';
export {
  CheckpointError,
  DisposedError,
  FewbitError,
  HubError,
  OptionsError,
  UnsupportedError,
} from './errors';
export {
  type CachePlan,
  type MemoryNeeds,
  type MemorySizes,
  memoryNeeds,
} from './eval/memory';
export { type NaiveOptions, naivePerplexity } from './eval/naive-activations';
export type { FeatureOutliers, LayerOutliers } from './eval/outlier-statistics';
export {
  type OutlierVariant,
  type OutlierVariantOptions,
  writeOutlierVariant,
} from './eval/outlier-variant';
export { analyzeOutliers, type OutlierOptions, type OutlierReport } from './eval/outliers';
export {
  type PerplexityOptions,
  type PerplexityProgress,
  type PerplexityResult,
  perplexity,
} from './eval/perplexity';
export type { DType } from './native';
export * as ops from './ops';
export {
  AutoModelForCausalLM,
  type FromConfigOptions,
  type FromPretrainedOptions,
  type ModelProgress,
} from './pretrained/auto';
export { calibrateKvCache, type KvCalibrationOptions } from './pretrained/kv-calibration';
export type { CalibrationReport } from './pretrained/layerwise/gather-windows';
export type { LayerReport, LayerwiseProgress } from './pretrained/layerwise/progress';
export { CausalLanguageModel } from './pretrained/model';
export {
  type QuantizeConfig,
  type QuantizeOptions,
  type QuantizeProgress,
  type QuantizeReport,
  quantize,
} from './pretrained/quantize';
export {
  BitnetConfig,
  type BitnetOptions,
  GptqConfig,
  type GptqOptions,
  LlmInt8Config,
  type LlmInt8Options,
  type QuantizationConfig,
  RPTQ_CONFIGS,
  RptqConfig,
  type RptqConfigName,
  type RptqOptions,
  type RptqWidths,
} from './quant';
export { type HostArray, Tensor } from './tensor';
