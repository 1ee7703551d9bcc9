import { join } from 'node:path';
import { quantize, type RptqOptions, writeOutlierVariant } from '../../../lib';
import { Folders } from '../../support/checkpoints';
import { type RawTensor, readTensors } from '../../support/golden';
import { PlainModel, values } from './support/plain-model';
import { observe, type Ranges } from './support/ranges';
import { type Architecture, smallWindows, writeSmallModel } from './support/small-models';

const folders = new Folders();
afterAll(() => folders.dispose());

const windows = smallWindows(4, 40);

interface Written {
  original: PlainModel;
  tensors: Map<string, RawTensor>;
}

/** Quantizes a small model, or the same with outlier channels. */
async function write(
  architecture: Architecture,
  options: RptqOptions,
  isOutlier = false,
): Promise<Written> {
  const [plain, outlier, out] = [folders.path(), folders.path(), folders.path()];
  await writeSmallModel(plain, architecture);
  if (isOutlier) await writeOutlierVariant(plain, outlier);
  await quantize(
    isOutlier ? outlier : plain,
    { ...options, method: 'rptq' },
    { out, device: 'cpu', dataset: windows },
  );
  const tensors = readTensors(join(out, 'model.safetensors'));
  return { original: PlainModel.read(plain), tensors };
}

/** The largest size of each channel over all windows. */
function sizesOf(ranges: Ranges): number[] {
  const [first] = ranges as [Ranges[number]];
  return [...first.min.keys()].map((k) =>
    Math.max(
      ...ranges.flatMap(({ min, max }) => [min[k], max[k]].map((x) => Math.abs(x as number))),
    ),
  );
}

/** The largest size of a weight in each column of some matrices [N, K]. */
function columnSizes(matrices: readonly Float64Array[], k: number): number[] {
  return Array.from({ length: k }, (_, column) =>
    Math.max(
      ...matrices.flatMap((matrix) =>
        Array.from({ length: matrix.length / k }, (_, row) =>
          Math.abs(matrix[row * k + column] as number),
        ),
      ),
    ),
  );
}

/** Norms before blocks, and the linear layers that read them. */
const NORMS = {
  opt: [
    ['self_attn_layer_norm', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']],
    ['final_layer_norm', ['fc1']],
  ],
  llama: [
    ['input_layernorm', ['self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj']],
    ['post_attention_layernorm', ['mlp.gate_proj', 'mlp.up_proj']],
  ],
} as const;

/** Bytes of the tensors that were written, by name. */
function bytesOf({ tensors }: Written, of: RegExp = /./): Map<string, string> {
  const wanted = [...tensors].filter(([name]) => of.test(name));
  return new Map(wanted.map(([name, { bytes }]) => [name, Buffer.from(bytes).toString('base64')]));
}

describe.each<Architecture>(['llama', 'opt'])('%s', (architecture) => {
  test('norms divide their channels by powers of two, as SmoothQuant says', async () => {
    const { original, tensors } = await write(architecture, { config: 'W4A16' });
    const first = original.layer(0);
    const seen = observe(original, windows);
    for (const [norm, readers] of NORMS[architecture]) {
      const names = readers.map((reader) => `${first}.${reader}`);
      const sizes = sizesOf(seen.get(names[0] as string) as Ranges);
      const weights = names.map((name) => original.weights.get(`${name}.weight`) as Float64Array);
      const columns = columnSizes(weights, sizes.length);
      const divisors = sizes.map(
        (size, k) => 2 ** Math.round(Math.log2(Math.sqrt(size / (columns[k] as number)))),
      );
      expect(new Set(divisors).size).toBeGreaterThan(1);
      const parts = ['weight', 'bias'].map((part) => `${first}.${norm}.${part}`);
      for (const part of parts.filter((name) => original.weights.has(name))) {
        const gains = [...(original.weights.get(part) as Float64Array)];
        const wanted = gains.map((gain, k) => gain / (divisors[k] as number));
        expect([...values(tensors.get(part) as RawTensor)]).toEqual(wanted);
      }
    }
  });

  test('outlier channels change nothing in a model whose norms divide them', async () => {
    const config = { config: 'W4A4KV' } as const;
    const plain = bytesOf(await write(architecture, config));
    expect(bytesOf(await write(architecture, config, true))).toEqual(plain);
    const paper = { ...config, equalize: false };
    const [as, with64] = [await write(architecture, paper), await write(architecture, paper, true)];
    expect(bytesOf(with64, /qweight$/)).not.toEqual(bytesOf(as, /qweight$/));
  });

  test.each<RptqOptions>([
    { config: 'W4A4KV', equalize: false },
    { config: 'W4A8' },
    { config: 'W16A16-KV4' },
  ])('%o: norms stay as they are', async (options) => {
    const { original, tensors } = await write(architecture, options);
    const norms = [...original.weights].filter(([name]) => /norm\.(weight|bias)$/.test(name));
    expect(norms.length).toBeGreaterThan(4);
    for (const [name, gains] of norms)
      expect(values(tensors.get(name) as RawTensor)).toEqual(gains);
  });
});
