import { firstWord } from './philox';
import { given, type Reference, rowOf, sizeOf } from './types';

const [INACTIVE, NO_DISTRIBUTION] = [-1, -2];

interface Token {
  id: number;
  logit: number;
  mass: bigint;
}

/** Filters the tokens by sorting them, then draws with Gumbel noise. */
export const sample: Reference = (inputs) => {
  const logits = given(inputs, 'logits');
  const params = given(inputs, 'params');
  const [rows, vocab] = sizeOf(logits);
  const seen = inputs.seen?.data.slice();
  const out = new Float64Array(rows).fill(INACTIVE);
  for (let row = 0; row < rows; row++) {
    const [temperature, topK, topP, minP, penalty] = [...rowOf(params, row)] as Params;
    if (temperature < 0) continue;
    const penalised = rowOf(logits, row).map((logit, id) => {
      if (!seen?.[row * vocab + id]) return logit;
      return Math.fround(logit > 0 ? logit / penalty : logit * penalty);
    });
    const seed = BigInt.asUintN(64, BigInt(given(inputs, 'seeds').data[row] as number));
    const step = BigInt(given(inputs, 'steps').data[row] as number);
    const noise = (id: number) => gumbel(id, step, seed);
    const token = draw(penalised, { temperature, topK, topP, minP }, noise);
    out[row] = token;
    if (seen && token >= 0) seen[row * vocab + token] = 1;
  }
  return { ...(seen && { seen }), out };
};

type Params = [number, number, number, number, number];

interface Filters {
  temperature: number;
  topK: number;
  topP: number;
  minP: number;
}

function draw(
  logits: Float64Array,
  { temperature, topK, topP, minP }: Filters,
  noise: (id: number) => number,
): number {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  if (Number.isNaN(largest) || largest === -Infinity) return NO_DISTRIBUTION;
  if (temperature === 0) return logits.indexOf(largest);
  const top = Math.fround(largest / temperature);
  const tokens = Array.from(logits, (logit, id): Token => {
    const scaled = Math.fround(logit / temperature);
    const mass = BigInt(Math.floor(Math.exp(scaled - top) * 2 ** 40));
    return { id, logit: scaled, mass };
  }).filter(({ logit }) => logit > -Infinity);
  tokens.sort((a, b) => b.logit - a.logit || a.id - b.id);
  let left = topK > 0 ? withEquals(tokens, topK) : tokens;
  if (topP < 1) left = withEquals(left, nucleus(left, topP));
  if (minP > 0) left = left.filter(({ logit }) => logit - top >= Math.log(minP));
  const scored = left.map(({ id, logit }) => ({ id, score: logit - top + noise(id) }));
  return scored.reduce((a, b) =>
    b.score > a.score || (b.score === a.score && b.id < a.id) ? b : a,
  ).id;
}

/** The first `count` tokens and those as likely as the last of them. */
function withEquals(sorted: readonly Token[], count: number): Token[] {
  const last = sorted[Math.min(count, sorted.length) - 1] as Token;
  return sorted.filter(({ logit }) => logit >= last.logit);
}

/** How many of the likeliest tokens reach the share p of the mass. */
function nucleus(sorted: readonly Token[], p: number): number {
  const needed = p * Number(sorted.reduce((sum, { mass }) => sum + mass, 0n));
  let mass = 0n;
  return (
    sorted.findIndex((token) => {
      mass += token.mass;
      return Number(mass) >= needed;
    }) + 1
  );
}

function gumbel(id: number, step: bigint, seed: bigint): number {
  const word = firstWord([BigInt(id), step, 0n, 0n], [seed & 0xffffffffn, seed >> 32n]);
  return -Math.log(-Math.log((word + 0.5) / 2 ** 32));
}
