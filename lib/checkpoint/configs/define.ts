import type { z } from 'zod';
import { CheckpointError } from '../../errors';
import type { JsonObject } from '../json';

/** How the configuration of one architecture is recognised and read. */
export interface Architecture<Config> {
  /** `model_type` in config.json. */
  readonly modelType: string;
  /** Accepted entries of `architectures` in config.json. */
  readonly classes: readonly string[];
  /** @param where names the file in errors */
  parse(raw: JsonObject, where: string): Config;
}

/**
 * Ties the schema of the keys on disk to the typed form that models use.
 * @param definition.normalize throws UnsupportedError for values that no code implements
 */
export function defineArchitecture<Schema extends z.ZodType, Config>(definition: {
  modelType: string;
  classes: readonly string[];
  schema: Schema;
  normalize(fields: z.output<Schema>, where: string): Config;
}): Architecture<Config> {
  const { modelType, classes, schema, normalize } = definition;
  return {
    modelType,
    classes,
    parse: (raw, where) => normalize(parseWith(schema, raw, where), where),
  };
}

/** Applies a schema; what it finds wrong becomes one CheckpointError that names every key. */
export function parseWith<Schema extends z.ZodType>(
  schema: Schema,
  raw: unknown,
  where: string,
): z.output<Schema> {
  const result = schema.safeParse(raw);
  if (result.success) return result.data;
  const issues = result.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new CheckpointError(`${where} is not valid: ${issues.join('; ')}`);
}
