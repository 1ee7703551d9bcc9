import { Command } from 'commander';
import { Device, type DeviceName, resolveDeviceName } from '../../device';
import { type DoctorReport, doctor } from '../../doctor';
import type { ContextFactory } from '../context';
import { addOutputOptions, deviceOption, type OutputOptions } from '../options/model-options';
import { formatBytes } from '../output/format';

interface DoctorOptions extends OutputOptions {
  device: DeviceName;
}

/** The report, with the device that `--device` leads to. */
interface Findings extends DoctorReport {
  device: { name: string; type: 'cpu' | 'cuda'; freeBytes: number; totalBytes: number };
}

const HELP = `
Ends with code 1 when the device asked for cannot be used.

Examples:
  $ fewbit doctor
  $ fewbit doctor --device cuda --json`;

export function doctorCommand(context: ContextFactory): Command {
  const command = new Command('doctor')
    .summary('say what was found on this machine, and why anything is not used')
    .description('Say what was found on this machine, and why anything is not used.')
    .addOption(deviceOption())
    .addHelpText('after', HELP);
  return addOutputOptions(command).action((options: DoctorOptions) => {
    const { output } = context(options);
    const report = doctor();
    // The report comes first: it says why a device then cannot be opened.
    if (!output.json) output.line(describe(report));
    const device = open(options.device);
    output.result({ ...report, device } satisfies Findings);
    output.line(
      row(`--device ${options.device}`, `${device.name}, ${formatBytes(device.freeBytes)} free`),
    );
  });
}

function open(name: DeviceName): Findings['device'] {
  using device = Device.open(name);
  const { free, total } = device.memory();
  return { name: device.name, type: device.type, freeBytes: free, totalBytes: total };
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
