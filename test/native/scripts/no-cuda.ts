/** What a process looks at with FEWBIT_DEVICE=cpu. */
import { readFileSync } from 'node:fs';
import { doctor } from '../../../lib';
import { generate, openModel } from './model';

async function main(): Promise<void> {
  const { cuda } = doctor();
  const model = await openModel();
  const { type } = model.device;
  await generate(model, 3);
  await model.dispose();
  const maps = readFileSync('/proc/self/maps', 'utf8');
  const libraries = [...new Set(maps.match(/\/\S*\.so[.\d]*/g))];
  const cudaLibraries = libraries.filter((path) => /cuda|cublas|nvidia/i.test(path));
  const sawAddon = maps.includes('fewbit.node');
  console.log(JSON.stringify({ cuda, type, cudaLibraries, sawAddon }));
}

void main();
