import { z } from 'zod';
import { parseWith } from './configs/define';

/** Defaults for generation that a model's makers recommend; absent where they say nothing. */
export interface GenerationConfig {
  bosTokenId?: number;
  eosTokenIds?: number[];
  padTokenId?: number;
  doSample?: boolean;
  temperature?: number;
  topK?: number;
  topP?: number;
  minP?: number;
  repetitionPenalty?: number;
  maxNewTokens?: number;
  maxLength?: number;
}

const id = z.int().nullish();
const number = z.number().nullish();

const schema = z.object({
  bos_token_id: id,
  eos_token_id: z.union([z.int(), z.array(z.int()).nonempty()]).nullish(),
  pad_token_id: id,
  do_sample: z.boolean().nullish(),
  temperature: number,
  top_k: number,
  top_p: number,
  min_p: number,
  repetition_penalty: number,
  max_new_tokens: number,
  max_length: number,
});

/**
 * Reads the contents of a generation_config.json.
 * @param where names the source in errors
 * @throws CheckpointError naming every key whose value is wrong
 */
export function parseGenerationConfig(raw: unknown, where: string): GenerationConfig {
  const fields = parseWith(schema, raw, where);
  return {
    bosTokenId: fields.bos_token_id ?? undefined,
    eosTokenIds: fields.eos_token_id == null ? undefined : [fields.eos_token_id].flat(),
    padTokenId: fields.pad_token_id ?? undefined,
    doSample: fields.do_sample ?? undefined,
    temperature: fields.temperature ?? undefined,
    topK: fields.top_k ?? undefined,
    topP: fields.top_p ?? undefined,
    minP: fields.min_p ?? undefined,
    repetitionPenalty: fields.repetition_penalty ?? undefined,
    maxNewTokens: fields.max_new_tokens ?? undefined,
    maxLength: fields.max_length ?? undefined,
  };
}
