import type { Device } from '../device';
import { ModelBuilder } from '../models/builder';
import { RandomSource } from '../models/sources';
import type { ModuleContext } from '../nn/module';
import { cast, fillRandom } from '../ops';
import { type QuantizationConfig, quantizationMethods } from '../quant';

const SHAPE = { in: 512, out: 384 };
const ROWS = 3;
/** Somewhat more than what a method costs noise; a broken kernel is off by about 1. */
const LARGEST_ERROR: Record<QuantizationConfig['method'] & string, number> = {
  'llm.int8': 0.02,
  bitnet: 0.5,
};

/** How a quantized layer did on a device. */
export interface LayerCheck {
  method: string;
  /** Norm of the difference to the 16-bit layer, relative to the norm of its output. */
  relativeError: number;
  ok: boolean;
}

/**
 * Runs one small linear layer, quantized on load, on a device and compares it with the same layer
 * in 16 bits: tells whether a method's kernels work there, without a model.
 */
export async function checkLayer(
  device: Device,
  quantization: QuantizationConfig,
): Promise<LayerCheck> {
  const methods = quantizationMethods(quantization, undefined);
  const expected = await outputOf(device, []);
  const actual = await outputOf(device, methods);
  const difference = actual.map((value, i) => value - (expected[i] as number));
  const relativeError = norm(difference) / norm(expected);
  // Written so that NaN fails.
  const ok = relativeError < LARGEST_ERROR[quantization.method];
  return { method: quantization.method, relativeError, ok };
}

async function outputOf(
  device: Device,
  methods: ReturnType<typeof quantizationMethods>,
): Promise<Float32Array> {
  const activations = device.type === 'cpu' ? 'f32' : 'f16';
  const context: ModuleContext = { device, activations, source: new RandomSource('f16') };
  const builder = new ModelBuilder(context, methods);
  const layer = builder.linear('check', SHAPE);
  try {
    for (const module of builder.modules) await module.load();
    return device.scope(() => {
      const x = fillRandom(device.empty(activations, [ROWS, SHAPE.in]), 7);
      return cast(layer.forwardOne(x), 'f32').read() as Float32Array;
    });
  } finally {
    for (const module of builder.modules) module.dispose();
  }
}

function norm(values: Float32Array): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value * value, 0));
}
