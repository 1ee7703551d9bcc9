import { Command } from 'commander';
import { Device, type DeviceName, resolveDeviceName } from '../../device';
import { type DoctorReport, doctor } from '../../doctor';
import { FewbitError } from '../../errors';
import { checkLayer, type LayerCheck } from '../../eval/layer-check';
import type { QuantizationConfig } from '../../quant';
import type { ContextFactory } from '../context';
import {
  addOutputOptions,
  deviceOption,
  type OutputOptions,
  quantizationOnLoad,
} from '../options/model-options';
import { formatBytes } from '../output/format';

interface DoctorOptions extends OutputOptions {
  device: DeviceName;
  quantization?: QuantizationConfig;
}

/** The report, with the device that `--device` leads to. */
interface Findings extends DoctorReport {
  device: { name: string; type: 'cpu' | 'cuda'; freeBytes: number; totalBytes: number };
  /** What became of a layer in the method of `--quantization`. */
  check?: LayerCheck;
}

const HELP = `
With --quantization a small layer is quantized and run on the device, and compared with 16 bits.
Ends with code 1 when the device asked for cannot be used, or the layer comes out wrong.

Examples:
  $ fewbit doctor
  $ fewbit doctor --quantization llm.int8
  $ fewbit doctor --device cuda --json`;

export function doctorCommand(context: ContextFactory): Command {
  const command = new Command('doctor')
    .summary('say what was found on this machine, and why anything is not used')
    .description('Say what was found on this machine, and why anything is not used.')
    .addOption(deviceOption())
    .addOption(quantizationOnLoad())
    .addHelpText('after', HELP);
  return addOutputOptions(command).action((options: DoctorOptions) => run(options, context));
}

async function run(options: DoctorOptions, context: ContextFactory): Promise<void> {
  const { output } = context(options);
  const report = doctor();
  // The report comes first: it says why a device then cannot be opened.
  if (!output.json) output.line(describe(report));
  using opened = Device.open(options.device);
  const { free, total } = opened.memory();
  const device = { name: opened.name, type: opened.type, freeBytes: free, totalBytes: total };
  output.line(row(`--device ${options.device}`, `${device.name}, ${formatBytes(free)} free`));
  const check = options.quantization && (await checkLayer(opened, options.quantization));
  output.result({ ...report, device, ...(check ? { check } : {}) } satisfies Findings);
  if (!check) return;
  const error = `${(check.relativeError * 100).toFixed(2)}% off 16 bits`;
  if (!check.ok) {
    const message = `a layer in ${check.method} came out wrong on ${device.name}: ${error}`;
    throw new FewbitError('ERR_FEWBIT_DEVICE', message);
  }
  output.line(row(check.method, `works: a layer on ${device.name} is ${error}`));
}

function describe({ node, platform, cpu, cuda, missingCudaOps }: DoctorReport): string {
  const lines = [
    row('Node.js', `${node} on ${platform}`),
    row('CPU', `${cpu.isa} kernels, ${cpu.threads} threads`),
    row('', `features: ${cpu.features.join(' ')}`),
    row('CUDA', cuda.reason === undefined ? 'used' : `not used: ${cuda.reason}`),
  ];
  for (const { index, name, computeCapability, totalBytes } of cuda.devices) {
    const size = formatBytes(totalBytes);
    lines.push(row('', `cuda:${index} ${name}, compute capability ${computeCapability}, ${size}`));
  }
  const [first] = cuda.devices;
  if (first) {
    lines.push(row('', `driver ${first.driverVersion}, runtime ${first.runtimeVersion}`));
  }
  if (cuda.library !== undefined) lines.push(row('', `library ${cuda.library}`));
  if (cuda.cublasLt !== undefined) lines.push(row('', `cuBLASLt: ${cuda.cublasLt}`));
  if (missingCudaOps.length > 0) {
    lines.push(row('', `ops that only the CPU has: ${missingCudaOps.join(', ')}`));
  }
  lines.push(row('auto', `takes ${resolveDeviceName('auto')}`));
  return lines.join('\n');
}

function row(head: string, text: string): string {
  return `${head.padEnd(14)}  ${text}`;
}
