// For which GPUs the CUDA back end is compiled here. CMakeLists.txt compiles for all architectures
// that fewbit ships; a checkout needs only the GPUs of its own machine, which takes a fifth of the
// time, and without a GPU one architecture, so that mistakes in cuda/ still show.
import { spawnSync } from 'node:child_process';
import { findProgram, SetupError } from './tools.mjs';

const withoutGpu = '90a';

function backEnd() {
  const value = (process.env.FEWBIT_CUDA || 'AUTO').toUpperCase();
  if (['ON', 'OFF', 'AUTO'].includes(value)) return value;
  throw new SetupError(`FEWBIT_CUDA is "${process.env.FEWBIT_CUDA}": use ON, OFF or AUTO`);
}

function parseArchs(text) {
  const archs = text.split(/[;, ]+/).filter(Boolean);
  const wrong = archs.find((arch) => !/^\d{2,3}[af]?$/.test(arch));
  if (wrong === undefined) return archs;
  throw new SetupError(`FEWBIT_CUDA_ARCHS holds "${wrong}": write all, or them as in "80;90a;120"`);
}

/** The architectures of the GPUs in this machine; empty when there is none. */
function localArchs() {
  const program = findProgram('nvidia-smi');
  if (program === undefined) return [];
  const query = ['--query-gpu=compute_cap', '--format=csv,noheader'];
  const { status, stdout } = spawnSync(program, query, { encoding: 'utf8' });
  if (status !== 0) return [];
  const capabilities = stdout.match(/^\d+\.\d+$/gm) ?? [];
  // The tensor-core instructions of Hopper are only in sm_90a.
  const archs = capabilities.map((capability) =>
    capability.replace('.', '').replace(/^90$/, '90a'),
  );
  return [...new Set(archs)].sort();
}

/** The CMake options, and a sentence on the choice when it was made here. */
export function cudaOptions() {
  const { options, note } = archOptions();
  // Always given: CMake keeps what an earlier configuration said.
  const FEWBIT_CUDA_FAST_COMPILE = process.env.FEWBIT_CUDA_FAST_COMPILE === '1' ? 'ON' : 'OFF';
  return { options: { ...options, FEWBIT_CUDA_FAST_COMPILE }, note };
}

function archOptions() {
  const FEWBIT_CUDA = backEnd();
  const wanted = process.env.FEWBIT_CUDA_ARCHS;
  if (FEWBIT_CUDA === 'OFF' || wanted === 'all') return { options: { FEWBIT_CUDA } };
  if (wanted) return { options: { FEWBIT_CUDA, FEWBIT_CUDA_ARCHS: parseArchs(wanted).join(';') } };
  const local = localArchs();
  const reason = local.length > 0 ? 'the GPUs of this machine' : 'as there is no GPU here';
  const archs = (local.length > 0 ? local : [withoutGpu]).join(';');
  return {
    options: { FEWBIT_CUDA, FEWBIT_CUDA_ARCHS: archs },
    note: `CUDA is compiled for sm_${archs.replaceAll(';', ', sm_')} only, ${reason}; FEWBIT_CUDA_ARCHS=all is for all GPUs`,
  };
}
