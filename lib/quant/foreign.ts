import type { JsonObject } from '../checkpoint/json';
import { UnsupportedError } from '../errors';

/** The refusal of a checkpoint in a method that is not read, with what to load instead. */
export function foreignMethod(stored: JsonObject): UnsupportedError {
  return new UnsupportedError(
    `the checkpoint is quantized by ${nameOf(stored)}; supported: gptq, rptq, bitnet, and bitsandbytes in 8 ` +
      'bits (LLM.int8()). Load a GPTQ checkpoint of the model, or the original, which can be quantized ' +
      "on load (quantization: { method: 'llm.int8' }) or by `fewbit quantize`",
  );
}

function nameOf(stored: JsonObject): string {
  const { quant_method: method = stored.method, format, load_in_4bit: fourBit } = stored;
  // Older files of AWQ do not name it.
  if (method === undefined) return 'zero_point' in stored ? 'awq' : 'an unnamed method';
  const details = [
    fourBit === true ? ' in 4 bits' : '',
    typeof format === 'string' ? ` (format ${format})` : '',
  ];
  return `${String(method)}${details.join('')}`;
}
