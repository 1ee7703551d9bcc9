/**
 * Attention of one layer in a decode step: caches of 8, 4 and 3 bits against a 16-bit one, all
 * replayed as CUDA graphs in the same run, with caches that are not in the second-level cache. A step
 * rotates q and k, appends the new key and value, and attends.
 *
 *   node dist/bench/attention.js [--config llama-2-7b,llama-3-8b] [--context 1024,8192,32768]
 *     [--batch 1,16,64] [--bits 8,4,3] [--scales static,feedback,dynamic] [--dtype f16|bf16]
 *     [--device cuda:0] [--json]
 */
import { Device, type DeviceName, ops, presetConfig } from 'fewbit';
import { type CacheKind, tokenBytes } from './support/layer-cache';
import { oneOf, parseOptions } from './support/options';
import { peaksOf } from './support/peaks';
import { type Column, markdownTable, percent, short } from './support/table';
import { type AttentionShape, timeAttention } from './support/timed-attention';

interface Result extends AttentionShape, CacheKind {
  config: string;
  /** Microseconds over the 16-bit cache, and over this one. */
  half: number;
  us: number;
  /** half / us. */
  ratio: number;
  /** Bytes of keys and values of a token in a layer. */
  bytes: number;
  /** Time to read the cache once, over the time taken; the same of the 16-bit cache. */
  floorShare: number | undefined;
  halfShare: number | undefined;
}

const values = parseOptions({
  config: { type: 'string', default: 'llama-2-7b,llama-3-8b' },
  context: { type: 'string', default: '1024,8192,32768' },
  batch: { type: 'string', default: '1,16,64' },
  bits: { type: 'string', default: '8,4,3' },
  scales: { type: 'string', default: 'static' },
  dtype: { type: 'string', default: 'f16' },
  device: { type: 'string', default: 'cuda' },
  json: { type: 'boolean', default: false },
});

const HALF: CacheKind = { bits: 16, scales: 'static' };

function kinds(): CacheKind[] {
  return values.bits.split(',').flatMap((text) => {
    const bits = ops.KV_BITS.find((known) => String(known) === text);
    if (!bits) throw new Error(`--bits takes ${ops.KV_BITS.join(', ')}, got '${text}'`);
    return values.scales.split(',').map((scales): CacheKind => {
      if (scales === 'static' || scales === 'dynamic') return { bits, scales };
      // Keys of 8 bits are rounded to the nearest.
      if (scales === 'feedback' && bits < 8) return { bits, scales };
      throw new Error(
        `--scales takes static, dynamic and, below 8 bits, feedback, got '${scales}'`,
      );
    });
  });
}

function shapes(): (AttentionShape & { config: string })[] {
  const numbers = (list: string): number[] => list.split(',').map(Number);
  return values.config.split(',').flatMap((config) => {
    const preset = presetConfig(config);
    const heads = preset.numAttentionHeads;
    const own =
      preset.modelType === 'opt'
        ? { heads, kvHeads: heads, headDim: preset.hiddenSize / heads }
        : { heads, kvHeads: preset.numKeyValueHeads, headDim: preset.headDim };
    return numbers(values.context).flatMap((context) =>
      numbers(values.batch).map((batch) => ({ config, ...own, context, batch })),
    );
  });
}

async function main(): Promise<void> {
  const device = Device.open(values.device as DeviceName);
  const peaks = peaksOf(device.name);
  const half = oneOf('dtype', values.dtype, ['f16', 'bf16']);
  const dtype = device.type === 'cpu' ? 'f32' : half;
  const results: Result[] = [];
  for (const shape of shapes()) {
    const share = (kind: CacheKind, us: number): number | undefined =>
      peaks &&
      ((shape.batch * shape.context * tokenBytes(shape, kind)) / peaks.bandwidth / us) * 1e6;
    const baseline = await timeAttention(device, dtype, shape, HALF);
    const halfShare = share(HALF, baseline);
    for (const kind of kinds()) {
      const us = await timeAttention(device, dtype, shape, kind);
      const bytes = tokenBytes(shape, kind);
      const floorShare = share(kind, us);
      results.push({
        ...shape,
        ...kind,
        half: baseline,
        us,
        ratio: baseline / us,
        bytes,
        floorShare,
        halfShare,
      });
      process.stderr.write('.');
    }
  }
  process.stderr.write('\n');
  report(device.name, results);
  device.dispose();
}

const shareCell = (share: number | undefined): string => (share ? percent(share) : '-');

function report(device: string, results: Result[]): void {
  if (values.json) {
    console.log(JSON.stringify({ ...values, device, results }, null, 1));
    return;
  }
  const columns: Column<Result>[] = [
    { title: 'model', cell: (r) => r.config },
    { title: 'heads', cell: (r) => `${r.heads}/${r.kvHeads}x${r.headDim}` },
    { title: 'context', cell: (r) => String(r.context) },
    { title: 'batch', cell: (r) => String(r.batch) },
    { title: 'cache', cell: (r) => `${r.bits} bit ${r.scales}` },
    { title: 'bytes/token', cell: (r) => String(r.bytes) },
    { title: '16-bit us', cell: (r) => short(r.half) },
    { title: 'of floor', cell: (r) => shareCell(r.halfShare) },
    { title: 'us', cell: (r) => short(r.us) },
    { title: 'of floor', cell: (r) => shareCell(r.floorShare) },
    { title: 'ratio', cell: (r) => r.ratio.toFixed(2) },
  ];
  console.log(`${device}, ${values.dtype}\n`);
  console.log(markdownTable(columns, results));
}

main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
