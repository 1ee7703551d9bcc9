import { type NativeDoctor, native } from './native';

export interface DoctorReport extends NativeDoctor {
  node: string;
  platform: string;
  /** Ops of the CPU back end that the loaded CUDA back end lacks; empty when it has them all. */
  missingCudaOps: string[];
}

/** What this machine offers, and why anything is not used. Loads the addon, probes CUDA. */
export function doctor(): DoctorReport {
  const report = native().doctor();
  const { cpu, cuda } = native().operations();
  const missing = report.cuda.library ? cpu.filter((name) => !cuda.includes(name)) : [];
  return {
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    ...report,
    missingCudaOps: missing,
  };
}
