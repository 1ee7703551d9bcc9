import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { doctor } from '../../lib/doctor';
import { opCases } from '../cases';
import { runScript, scriptOutput } from '../support/child';
import { expectOutputs } from '../support/compare';
import type { Outputs } from '../support/run-case';

const LEVELS = ['scalar', 'avx2', 'avx512'] as const;
const script = join(__dirname, 'run-cases.ts');

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'fewbit-isa-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** All outputs of all cases at one level, by case name. */
async function outputsAt(level: string): Promise<Map<string, Outputs>> {
  const file = join(folder, level);
  const { isa, lengths } = await scriptOutput<{ isa: string; lengths: number[] }>(script, [file], {
    env: { FEWBIT_CPU_ISA: level },
  });
  expect(isa).toBe(level);
  const bytes = readFileSync(file);
  const all = new Float64Array(
    bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length),
  );
  let [end, next] = [0, 0];
  return new Map(
    opCases.map(({ name, tensors }) => {
      const outputs: Outputs = {};
      for (const [output, tensor] of Object.entries(tensors)) {
        if (!tensor?.access) continue;
        const begin = end;
        end += lengths[next++] as number;
        outputs[output] = all.subarray(begin, end);
      }
      return [name, outputs];
    }),
  );
}

const best = LEVELS.indexOf(doctor().cpu.isa as (typeof LEVELS)[number]);

test('every instruction set gives the same integers and nearly the same floats', async () => {
  expect(best).toBeGreaterThanOrEqual(0);
  const scalar = await outputsAt('scalar');
  for (const level of LEVELS.slice(1, best + 1)) {
    const outputs = await outputsAt(level);
    for (const opCase of opCases) {
      const { name, attrs } = opCase;
      // bitsandbytes' mode rounds to fp16 on the way: see reference.test.ts.
      const precision = attrs.mode === 1 && 'activation' in attrs ? 'f16' : 'f32';
      const [actual, expected] = [outputs.get(name) as Outputs, scalar.get(name) as Outputs];
      try {
        expectOutputs(opCase, actual, expected, precision);
      } catch (cause) {
        throw new Error(`${level}, ${name}: ${(cause as Error).message}`, { cause });
      }
    }
  }
});

test('a level that is unknown or not there is refused, and says which there are', async () => {
  const refused = ['sse', ...LEVELS.slice(best + 1)];
  for (const level of refused) {
    const { status, stderr } = await runScript(script, [join(folder, 'none')], {
      env: { FEWBIT_CPU_ISA: level },
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(`FEWBIT_CPU_ISA=${level} is `);
    expect(stderr).toMatch(/scalar/);
  }
});
