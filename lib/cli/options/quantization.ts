import { OptionsError } from '../../errors';
import { type MethodConfig, parseQuantization, type QuantizationConfig } from '../../quant';

/** Settings that are lists; their items are separated by `+`, since commas separate settings. */
const LISTS = ['skipModules'];

const FORM =
  "write it as METHOD or METHOD,key=value,..., e.g. 'llm.int8,threshold=6,mode=paper,skipModules=q_proj+fc2'";

/**
 * The configuration that `--quantization` gives as text. Keys may be written in camelCase or with
 * dashes.
 * @throws OptionsError naming the part that is wrong
 */
export function quantizationOption(text: string): QuantizationConfig {
  const [method = '', ...settings] = text.split(',').map((part) => part.trim());
  if (method === '' || method.includes('=')) {
    throw new OptionsError(`--quantization '${text}' does not begin with a method: ${FORM}`);
  }
  const given: Record<string, unknown> = { method };
  for (const setting of settings) {
    const [, name, value] = /^([A-Za-z][\w-]*)=(.+)$/.exec(setting) ?? [];
    if (name === undefined || value === undefined) {
      throw new OptionsError(`--quantization: '${setting}' is not key=value: ${FORM}`);
    }
    const key = camelCase(name);
    if (Object.hasOwn(given, key)) {
      throw new OptionsError(`--quantization: ${key} is given twice`);
    }
    given[key] = LISTS.includes(key) ? value.split('+') : plainValue(value);
  }
  return checked(given);
}

/** Validates what was put together from text, whatever its type. @throws OptionsError */
export function checked(given: object): MethodConfig {
  return parseQuantization(given as QuantizationConfig);
}

function camelCase(name: string): string {
  return name.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function plainValue(text: string): unknown {
  if (text === 'true' || text === 'false') return text === 'true';
  const number = Number(text);
  return Number.isNaN(number) ? text : number;
}
