import { renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { AutoModelForCausalLM } from '../../lib';
import { packZeros, unpackColumns, unpackRows, unpackZeros } from '../../lib/quant/gptq/pack';
import { Folders } from '../support/checkpoints';
import { goldenFolder, type RawTensor, readTensors, relativeError } from '../support/golden';
import {
  gptqVariant,
  int32,
  int32sOf,
  type Tensors,
  type Variant,
} from '../support/gptq-checkpoint';
import { packStream } from '../support/gptq-layer';
import { fromHalf, toHalf } from '../support/half';

const folders = new Folders();
afterAll(() => folders.dispose());

const SYM = 'gptq-8bit-g32-sym-v1';
const ACT_ORDER = 'gptq-4bit-g64-desc_act-v1';
const ASYM = 'gptq-2bit-g32-asym-v2';
const THREE = 'gptq-3bit-g32-desc_act-asym-v2';
const UP = 'model.layers.1.mlp.up_proj';
const PROMPT = [3, 200, 17, 99, 301];

const open = (folder: string) => AutoModelForCausalLM.fromPretrained(folder, { device: 'cpu' });
const variant = (golden: string, change: Variant) => gptqVariant(folders, golden, change);

async function logits(folder: string): Promise<Float32Array> {
  await using model = await open(folder);
  return (await model.forward([PROMPT])).logits;
}

const original = new Map<string, Promise<Float32Array>>();
/** Logits of the checkpoint as it is. */
function own(golden: string): Promise<Float32Array> {
  const known = original.get(golden) ?? logits(goldenFolder(golden));
  original.set(golden, known);
  return known;
}

/** 3-bit words whose streams have their words `stride` apart, rearranged into planes. */
function toPlanes(words: Int32Array, stride: number): Int32Array {
  const out = new Int32Array(words.length);
  for (let row = 0; row < words.length; row += 3 * stride) {
    for (let at = row; at < row + stride; at++) {
      const three = [0, 1, 2].map((i) => words[at + i * stride] as number);
      const planes = packStream([...unpackRows(Int32Array.from(three), 3)], 3, true);
      for (const [i, word] of planes.entries()) out[at + i * stride] = word;
    }
  }
  return out;
}

/** Names of a layer's tensors but for its weight. */
const PARTS = ['qweight', 'qzeros', 'scales', 'g_idx'];

/** Puts a layer in 16 bits, by the definition of the format. */
function dequantize(tensors: Tensors, name: string, bits: 2 | 3 | 4 | 8, v1: boolean): void {
  const { bytes, shape } = tensors.get(`${name}.scales`) as RawTensor;
  const [, n] = shape as [number, number];
  const scales = new Uint16Array(bytes.buffer);
  const codes = unpackColumns(int32sOf(tensors, `${name}.qweight`), n, bits);
  const zeros = unpackZeros(int32sOf(tensors, `${name}.qzeros`), bits, v1 ? 'gptq' : 'gptq_v2');
  const groupOf = int32sOf(tensors, `${name}.g_idx`);
  const k = groupOf.length;
  const weight = new Uint16Array(n * k);
  for (let row = 0; row < k; row++) {
    for (let col = 0; col < n; col++) {
      const at = (groupOf[row] as number) * n + col;
      const code = (codes[row * n + col] as number) - (zeros[at] as number);
      weight[col * k + row] = toHalf(fromHalf(scales[at] as number) * code).bits;
    }
  }
  for (const part of PARTS) tensors.delete(`${name}.${part}`);
  tensors.set(`${name}.weight`, {
    dtype: 'F16',
    shape: [n, k],
    bytes: new Uint8Array(weight.buffer),
  });
}

describe('read all the same', () => {
  test.each([SYM, ASYM])('%s without g_idx', async (golden) => {
    const folder = await variant(golden, {
      tensors: (tensors) => {
        for (const name of tensors.keys()) if (name.endsWith('g_idx')) tensors.delete(name);
      },
    });
    expect(await logits(folder)).toEqual(await own(golden));
  });

  test('a g_idx of zeros', async () => {
    const folder = await variant(SYM, {
      tensors: (tensors) => {
        for (const [name, { shape }] of [...tensors]) {
          if (name.endsWith('g_idx'))
            tensors.set(name, int32(shape, new Int32Array(shape[0] ?? 0)));
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(SYM));
  });

  test('groups counted from the end, and g_idx repeated as in fused layers', async () => {
    const folder = await variant(ACT_ORDER, {
      tensors: (tensors) => {
        for (const [name, { shape }] of [...tensors]) {
          if (!name.endsWith('g_idx')) continue;
          const groups = (tensors.get(name.replace('g_idx', 'scales')) as RawTensor)
            .shape[0] as number;
          const negative = [...int32sOf(tensors, name)].map((group) => group - groups);
          tensors.set(
            name,
            int32([3 * (shape[0] as number)], [negative, negative, negative].flat()),
          );
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(ACT_ORDER));
  });

  test('the names that AutoGPTQ once used, in quantize_config.json alone', async () => {
    const folder = await variant(SYM, { bare: true });
    const path = join(folder, 'quantize_config.json');
    writeFileSync(path, JSON.stringify({ w_bit: 8, q_group_size: 32, desc_act: false }));
    expect(await logits(folder)).toEqual(await own(SYM));
    renameSync(path, join(folder, 'quant_config.json'));
    expect(await logits(folder)).toEqual(await own(SYM));
  });

  test('quantize_config.json over config.json, which keeps what it does not say', async () => {
    const folder = await variant(ASYM, { quantization: { bits: 4, group_size: 128 } });
    writeFileSync(
      join(folder, 'quantize_config.json'),
      JSON.stringify({ bits: 2, group_size: 32 }),
    );
    expect(await logits(folder)).toEqual(await own(ASYM));
  });

  test('symmetric zero points as v2', async () => {
    const folder = await variant(SYM, {
      quantization: { checkpoint_format: 'gptq_v2' },
      tensors: (tensors) => {
        for (const [name, { shape }] of [...tensors]) {
          if (!name.endsWith('qzeros')) continue;
          const zeros = unpackZeros(int32sOf(tensors, name), 8, 'gptq');
          expect(zeros.every((zero) => zero === 128)).toBe(true);
          tensors.set(name, int32(shape, packZeros(zeros, 8, 'gptq_v2')));
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(SYM));
  });

  test('3-bit codes and zero points in planes, which are saved as v2', async () => {
    const folder = await variant(THREE, {
      quantization: { checkpoint_format: 'gptq_p' },
      tensors: (tensors) => {
        for (const [name, { shape }] of [...tensors]) {
          const stride = name.endsWith('qweight') ? (shape[1] as number) : 1;
          if (stride === 1 && !name.endsWith('qzeros')) continue;
          tensors.set(name, int32(shape, toPlanes(int32sOf(tensors, name), stride)));
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(THREE));
    const saved = folders.path();
    await using model = await open(folder);
    await model.savePretrained(saved);
    const [before, after] = [goldenFolder(THREE), saved].map((path) =>
      readTensors(join(path, 'model.safetensors')),
    ) as [Tensors, Tensors];
    expect(after.get(`${UP}.qweight`)).toEqual(before.get(`${UP}.qweight`));
    expect(await logits(saved)).toEqual(await own(THREE));
  });

  test('scales in f32', async () => {
    const folder = await variant(SYM, {
      tensors: (tensors) => {
        for (const [name, { shape, bytes }] of [...tensors]) {
          if (!name.endsWith('scales')) continue;
          const wide = Float32Array.from(new Uint16Array(bytes.buffer), fromHalf);
          tensors.set(name, { dtype: 'F32', shape, bytes: new Uint8Array(wide.buffer) });
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(SYM));
  });
});

describe('layers of several kinds', () => {
  const layerOf = (name: string) => (tensors: Tensors) => dequantize(tensors, name, 3, false);

  test('one layer of a stack in 16 bits', async () => {
    const folder = await variant(THREE, { tensors: layerOf(UP) });
    await using model = await open(folder);
    const found = model.transformer.modules.filter(({ name }) => name.includes('layers.1.mlp'));
    expect(found.map(({ name, method }) => [name.split('.').at(-1), method])).toEqual([
      ['gate_proj', 'gptq'],
      ['up_proj', 'f16'],
      ['down_proj', 'gptq'],
    ]);
    const result = await model.forward([PROMPT]);
    expect(relativeError(result.logits, await own(THREE))).toBeLessThan(1e-3);
  });

  test('other groups in one layer of a stack run side by side', async () => {
    const name = 'model.layers.0.self_attn.k_proj';
    const folder = await variant(SYM, {
      quantization: { dynamic: { '+:.*\\.0\\..*k_proj': { group_size: 16 }, k_proj: { bits: 2 } } },
      tensors: (tensors) => {
        // Groups of 16 that are halves of the groups of 32: each row twice.
        for (const part of ['scales', 'qzeros']) {
          const { dtype, shape, bytes } = tensors.get(`${name}.${part}`) as RawTensor;
          const [rows, cols] = shape as [number, number];
          const size = bytes.length / rows;
          const twice = new Uint8Array(2 * bytes.length);
          for (let row = 0; row < 2 * rows; row++) {
            twice.set(bytes.subarray((row >> 1) * size, ((row >> 1) + 1) * size), row * size);
          }
          tensors.set(`${name}.${part}`, { dtype, shape: [2 * rows, cols], bytes: twice });
        }
        tensors.delete(`${name}.g_idx`);
      },
    });
    expect(await logits(folder)).toEqual(await own(SYM));
    await using model = await open(folder);
    const saved = folders.path();
    await model.savePretrained(saved);
    expect(await logits(saved)).toEqual(await own(SYM));
  });

  test('a bias that the architecture does not ask for', async () => {
    const bias = (value: number) => (tensors: Tensors) => {
      const bytes = new Uint8Array(new Uint16Array(256).fill(toHalf(value).bits).buffer);
      tensors.set(`${UP}.bias`, { dtype: 'F16', shape: [256], bytes });
    };
    expect(await logits(await variant(SYM, { tensors: bias(0) }))).toEqual(await own(SYM));
    expect(await logits(await variant(SYM, { tensors: bias(0.5) }))).not.toEqual(await own(SYM));
  });
});

describe('saved', () => {
  test.each([SYM, ACT_ORDER, ASYM, THREE])('%s is the same, tensor by tensor', async (golden) => {
    const folder = folders.path();
    {
      await using model = await open(goldenFolder(golden));
      await model.savePretrained(folder);
    }
    const [before, after] = [goldenFolder(golden), folder].map((path) =>
      readTensors(join(path, 'model.safetensors')),
    ) as [Tensors, Tensors];
    expect([...after.keys()].sort()).toEqual([...before.keys()].sort());
    for (const [name, tensor] of before) expect([name, after.get(name)]).toEqual([name, tensor]);
    expect(await logits(folder)).toEqual(await own(golden));
  });

  test('asymmetric v1 becomes v2', async () => {
    const folder = await variant(ASYM, {
      quantization: { checkpoint_format: 'gptq', meta: { quantizer: ['gptqmodel:1.9.0'] } },
      tensors: (tensors) => {
        for (const [name, { shape }] of [...tensors]) {
          if (!name.endsWith('qzeros')) continue;
          const zeros = unpackZeros(int32sOf(tensors, name), 2, 'gptq_v2');
          tensors.set(name, int32(shape, packZeros(zeros, 2, 'gptq')));
        }
      },
    });
    expect(await logits(folder)).toEqual(await own(ASYM));
    const saved = folders.path();
    await using model = await open(folder);
    await model.savePretrained(saved);
    const zeros = (path: string) =>
      readTensors(join(path, 'model.safetensors')).get(`${UP}.qzeros`)?.bytes;
    expect(zeros(saved)).toEqual(zeros(goldenFolder(ASYM)));
    expect(await logits(saved)).toEqual(await own(ASYM));
  });
});

test('zero points that programs read differently bring a warning, once', async () => {
  const emitWarning = jest.spyOn(process, 'emitWarning').mockImplementation();
  try {
    // 3 in v1 of 2 bits: a zero point of 0, of which one was taken.
    const wrapped = (tensors: Tensors) => {
      for (const name of [`${UP}.qzeros`, 'model.layers.0.self_attn.q_proj.qzeros']) {
        int32sOf(tensors, name)[0] = -1;
      }
    };
    const quantization = { checkpoint_format: 'gptq' };
    await logits(await variant(ASYM, { tensors: wrapped, quantization }));
    expect(emitWarning).toHaveBeenCalledTimes(1);
    const meta = { quantizer: ['gptqmodel:1.9.0'] };
    await logits(
      await variant(ASYM, { tensors: wrapped, quantization: { ...quantization, meta } }),
    );
    await logits(await variant(SYM, {}));
    expect(emitWarning).toHaveBeenCalledTimes(1);
    expect(emitWarning.mock.calls[0]?.[0]).toMatch(/qzeros.*gptq_v2/);
  } finally {
    emitWarning.mockRestore();
  }
});
