import { InvalidArgumentError } from 'commander';

/** A commander argument parser for whole numbers in `min .. max`. */
export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = /^[+-]?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    const limit = max === Number.MAX_SAFE_INTEGER ? `at least ${min}` : `${min} to ${max}`;
    throw new InvalidArgumentError(`It must be a whole number, ${limit}.`);
  };
}

/** A commander argument parser for numbers in `min .. max`. */
export function numberFrom(min: number, max = Number.MAX_VALUE): (text: string) => number {
  return (text) => {
    const value = text.trim() === '' ? Number.NaN : Number(text);
    if (Number.isFinite(value) && value >= min && value <= max) return value;
    const limit = max === Number.MAX_VALUE ? `at least ${min}` : `${min} to ${max}`;
    throw new InvalidArgumentError(`It must be a number, ${limit}.`);
  };
}

/** A commander argument parser for 64-bit seeds: a bigint where a number would lose digits. */
export function seed(text: string): number | bigint {
  if (!/^-?\d+$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : BigInt(text);
}

const UNITS: Record<string, number> = { '': 1, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };

/** A commander argument parser for sizes in bytes, e.g. `5GB` (decimal, as transformers has it). */
export function byteSize(text: string): number {
  const [, digits, unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgt]?b)?$/i.exec(text.trim()) ?? [];
  const bytes = Math.floor(Number(digits) * (UNITS[unit.toLowerCase()] ?? Number.NaN));
  if (digits !== undefined && bytes > 0) return bytes;
  throw new InvalidArgumentError('It must be a size such as 500MB or 5GB.');
}

/** A commander argument parser for options that may be repeated. */
export function collect(value: string, previous: string[] | undefined): string[] {
  return [...(previous ?? []), value];
}

/** A commander argument parser for lists separated by commas. */
export function list(text: string): string[] {
  const items = text.split(',').map((item) => item.trim());
  if (items.every((item) => item !== '')) return items;
  throw new InvalidArgumentError('It must be a list such as a,b,c.');
}

/** A commander argument parser for lists of whole numbers, e.g. `1,8,64`. */
export function wholeNumbers(min: number, max?: number): (text: string) => number[] {
  const parse = wholeNumber(min, max);
  return (text) => list(text).map(parse);
}

/** A commander argument parser for the memory of a GPU in GB, e.g. `80`. */
export function gigabytes(text: string): number {
  return numberFrom(0.001, 1e6)(text) * 1e9;
}
