// Rotary position embedding parameters, in the three spellings found on disk: `rope_theta` beside
// `rope_scaling: {type | rope_type, ...}`, and the newer `rope_parameters: {rope_theta, rope_type}`.
import { z } from 'zod';
import { UnsupportedError } from '../../errors';
import { requireOneOf, size } from './common';

/**
 * `default`: angle = position * theta^(-2i/headDim). `linear`: positions are divided by `factor`.
 * `llama3`: low frequencies are divided by `factor`, high ones kept, those between interpolated
 * (by wavelength against originalMaxPositionEmbeddings / lowFreqFactor and / highFreqFactor).
 */
export type RopeConfig =
  | { type: 'default'; theta: number }
  | { type: 'linear'; theta: number; factor: number }
  | {
      type: 'llama3';
      theta: number;
      factor: number;
      lowFreqFactor: number;
      highFreqFactor: number;
      originalMaxPositionEmbeddings: number;
    };

const TYPES = ['default', 'linear', 'llama3'] as const;

const positive = z.number().positive();

const scaling = z.looseObject({
  rope_theta: positive.nullish(),
  rope_type: z.string().nullish(),
  type: z.string().nullish(),
  factor: positive.nullish(),
  low_freq_factor: positive.nullish(),
  high_freq_factor: positive.nullish(),
  original_max_position_embeddings: size.nullish(),
  partial_rotary_factor: z.number().nullish(),
});

/** Schema entries of the rope keys. */
export const ropeShape = {
  rope_theta: positive.nullish(),
  rope_scaling: scaling.nullish(),
  rope_parameters: scaling.nullish(),
};

type RopeFields = z.output<z.ZodObject<typeof ropeShape>>;

/**
 * The one form that models use.
 * @param where names the file in errors
 * @throws UnsupportedError for other kinds (yarn, dynamic, longrope, ...)
 */
export function ropeConfig(
  fields: RopeFields,
  defaults: { theta: number; maxPositionEmbeddings: number },
  where: string,
): RopeConfig {
  const key = fields.rope_parameters ? 'rope_parameters' : 'rope_scaling';
  const found = fields.rope_parameters ?? fields.rope_scaling ?? {};
  const type = requireOneOf(where, `${key}.rope_type`, found.rope_type ?? found.type ?? 'default', [
    ...TYPES,
  ]);
  if ((found.partial_rotary_factor ?? 1) !== 1) {
    throw new UnsupportedError(`${where}: ${key}.partial_rotary_factor other than 1`);
  }
  const theta = found.rope_theta ?? fields.rope_theta ?? defaults.theta;
  const required = (name: 'factor' | 'low_freq_factor' | 'high_freq_factor'): number => {
    const value = found[name];
    if (typeof value === 'number') return value;
    throw new UnsupportedError(`${where}: ${key} of type ${type} needs ${name}`);
  };

  if (type === 'default') return { type, theta };
  if (type === 'linear') return { type, theta, factor: required('factor') };
  const low = required('low_freq_factor');
  const high = required('high_freq_factor');
  if (low >= high) {
    throw new UnsupportedError(`${where}: ${key}.low_freq_factor must be below high_freq_factor`);
  }
  return {
    type,
    theta,
    factor: required('factor'),
    lowFreqFactor: low,
    highFreqFactor: high,
    originalMaxPositionEmbeddings:
      found.original_max_position_embeddings ?? defaults.maxPositionEmbeddings,
  };
}
