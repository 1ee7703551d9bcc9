import { OptionsError } from '../errors';

/** Returns `value` if it is a whole number in `min .. max`, else throws an error that names it. */
export function wholeNumber(name: string, value: unknown, min: number, max: number): number {
  if (!Number.isSafeInteger(value) || (value as number) < min || (value as number) > max) {
    throw new OptionsError(
      `${name} must be a whole number from ${min} to ${max}, got ${show(value)}`,
    );
  }
  return value as number;
}

/** Returns `value` if it is a finite number in `min .. max`, else throws an error that names it. */
export function numberWithin(name: string, value: unknown, min: number, max: number): number {
  if (typeof value !== 'number' || !(value >= min && value <= max) || !Number.isFinite(value)) {
    const range =
      max === Number.MAX_VALUE ? `a number of at least ${min}` : `from ${min} to ${max}`;
    throw new OptionsError(`${name} must be ${range}, got ${show(value)}`);
  }
  return value;
}

/** Copies ids after checking that each is a token of the vocabulary; `name` is for the error. */
export function tokenIds(name: string, ids: ArrayLike<number>, vocabSize: number): number[] {
  if (ids === null || typeof ids !== 'object' || !Number.isSafeInteger(ids.length)) {
    throw new OptionsError(`${name} must be an array of token ids, got ${show(ids)}`);
  }
  const checked = Array.from(ids);
  for (let i = 0; i < checked.length; i++) {
    const id: unknown = checked[i];
    if (!Number.isSafeInteger(id) || (id as number) < 0 || (id as number) >= vocabSize) {
      throw new OptionsError(
        `${name}[${i}] is ${show(id)}: token ids are whole numbers from 0 to ${vocabSize - 1}`,
      );
    }
  }
  return checked;
}

/** Refuses ids that are empty or longer than the context. */
export function checkLength(name: string, ids: ArrayLike<number>, maxContext: number): void {
  if (ids.length === 0) throw new OptionsError(`${name} is empty: it needs at least one token`);
  if (ids.length > maxContext) {
    throw new OptionsError(
      `${name} has ${ids.length} tokens, but the context is limited to ${maxContext}: ` +
        'shorten it or raise maxContext',
    );
  }
}

function show(value: unknown): string {
  if (typeof value === 'string') return `'${value}'`;
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'an array' : 'an object';
  return typeof value === 'function' ? 'a function' : `${String(value)}`;
}
