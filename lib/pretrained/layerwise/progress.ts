/** What quantizing one layer came to. */
export interface LayerReport {
  name: string;
  bits: number;
  /** Input columns per scale; -1 for all. */
  groupSize: number;
  /**
   * Mean over the layer's outputs of the squared error that rounding costs, as the algorithm counts
   * it: weighted by the inputs seen, or of the weights alone where they were rounded to nearest.
   */
  error: number;
  /** Damping of the Hessian: more than asked for where it was needed; -1: rounded to nearest. */
  damp: number;
  seconds: number;
}

/** How far a quantization is. */
export type LayerwiseProgress =
  /** Token windows that went through a decoder layer (or the embedding, or the head). */
  | { phase: 'calibrate'; at: string; done: number; total: number }
  /** A layer is quantized. `eta`: seconds that the rest will take, judged by the work so far. */
  | ({ phase: 'layer'; done: number; total: number; eta: number } & LayerReport)
  /** Bytes of the final files. */
  | { phase: 'save'; loaded: number; total: number }
  /** Something worth knowing that is no error. */
  | { phase: 'notice'; message: string };

export type OnLayerwiseProgress = (progress: LayerwiseProgress) => void;
