import { writeFileSync } from 'node:fs';

/** The bytes of a file with this header text (unchecked) and this much data. */
export function rawSafetensors(header: string | object, dataBytes: number): Buffer {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  return Buffer.concat([length, json, Buffer.alloc(dataBytes, 1)]);
}

/** Writes a file of one f32[2, 3] per name. */
export function writeTensors(path: string, ...names: string[]): void {
  const header: Record<string, object> = {};
  let end = 0;
  for (const name of names) {
    header[name] = { dtype: 'F32', shape: [2, 3], data_offsets: [end, end + 24] };
    end += 24;
  }
  writeFileSync(path, rawSafetensors(header, end));
}
