import { UnsupportedError } from '../../errors';
import type { ZeroFormat } from './pack';

/** Fields of a checkpoint's configuration that say how its words are laid out. */
export interface FormatFields {
  quant_method?: string | null | undefined;
  method?: string | null | undefined;
  checkpoint_format?: string | null | undefined;
  format?: string | null | undefined;
  is_marlin_format?: boolean | null | undefined;
  pack_dtype?: string | null | undefined;
  rotation?: unknown;
}

export interface CheckpointFormat {
  zeroFormat: ZeroFormat;
  /** Whether 3-bit codes are in bit planes; codes of other widths are the same either way. */
  planar: boolean;
}

/** How each format that is read lays out its words. A missing `checkpoint_format` means v1. */
const FORMATS: Readonly<Record<string, CheckpointFormat>> = {
  gptq: { zeroFormat: 'gptq', planar: false },
  gptq_v2: { zeroFormat: 'gptq_v2', planar: false },
  gptq_p: { zeroFormat: 'gptq_v2', planar: true },
};

/** Layouts that were made for one kernel, and what to do with a checkpoint that has one. */
const KERNEL_FORMATS = ['marlin', 'bitblas', 'qqq', 'exl3'];
const ADVICE =
  "use the model's repository in the 'gptq' format, or quantize the original with " +
  '`fewbit quantize --method gptq`';

/** @throws UnsupportedError for formats that are not read, with what to do instead */
export function formatOf(fields: FormatFields): CheckpointFormat {
  const method = fields.quant_method ?? fields.method ?? 'gptq';
  const format = fields.checkpoint_format ?? fields.format ?? 'gptq';
  const isMarlin = fields.is_marlin_format === true || method === 'marlin';
  const kernel = isMarlin ? 'marlin' : KERNEL_FORMATS.find((name) => name === format);
  if (kernel) {
    throw new UnsupportedError(
      `the checkpoint is in the layout of the ${kernel} kernels, which is not read: ${ADVICE}`,
    );
  }
  const known = Object.hasOwn(FORMATS, format) ? FORMATS[format] : undefined;
  if (method !== 'gptq' || !known) {
    throw new UnsupportedError(
      `the checkpoint is quantized by '${method}' in the format '${format}'; supported: 'gptq' in ` +
        `the formats ${Object.keys(FORMATS).join(', ')}: ${ADVICE}`,
    );
  }
  if ((fields.pack_dtype ?? 'int32') !== 'int32') {
    throw new UnsupportedError(`codes are packed in ${fields.pack_dtype}; supported: int32`);
  }
  if (fields.rotation) {
    throw new UnsupportedError(
      `the weights were rotated (rotation: ${JSON.stringify(fields.rotation)}), which is not ` +
        'supported',
    );
  }
  return known;
}
