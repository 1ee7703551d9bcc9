/**
 * Runs every op case on the CPU and writes the outputs to the file that the first argument names:
 * the instruction set is chosen when the addon is loaded, so each level needs its own process.
 */
import { writeFileSync } from 'node:fs';
import { Device } from '../../lib/device';
import { doctor } from '../../lib/doctor';
import { opCases } from '../cases';
import { runCase } from '../support/run-case';

const device = Device.open('cpu', { threads: 2 });
const parts: Float64Array[] = [];
for (const opCase of opCases) {
  const outputs = runCase(device, opCase, { hidden: 'f32', weight: 'f16' });
  for (const data of Object.values(outputs)) parts.push(data);
}
device.dispose();
writeFileSync(process.argv[2] as string, Buffer.concat(parts.map((part) => bytesOf(part))));
console.log(JSON.stringify({ isa: doctor().cpu.isa, lengths: parts.map(({ length }) => length) }));

function bytesOf({ buffer, byteOffset, byteLength }: Float64Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
