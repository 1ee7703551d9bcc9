import { CheckpointError } from '../errors';

interface ForeignFormat {
  readonly files: RegExp;
  readonly what: string;
  readonly advice: string;
}

const CONVERT =
  'Convert them once: in Python, AutoModelForCausalLM.from_pretrained(folder)' +
  '.save_pretrained(out, safe_serialization=True); or, for a model on the hub, let ' +
  'https://huggingface.co/spaces/safetensors/convert open a pull request and pass its revision ' +
  "('refs/pr/N').";

/** Weight formats that are recognised only to say what to do about them. */
const FORMATS: readonly ForeignFormat[] = [
  {
    files: /\.(bin|pt|pth|ckpt|pkl)$/,
    what: 'pickle files, which can run code when they are loaded and are therefore not read',
    advice: CONVERT,
  },
  {
    files: /\.gguf$/,
    what: 'GGUF files, which are not read',
    advice: 'Use the repository with the original safetensors, and quantize on load.',
  },
  {
    files: /\.(h5|msgpack|npz|onnx)$/,
    what: 'weights of another framework, which are not read',
    advice: CONVERT,
  },
];

const NOT_WEIGHTS = /^(training_args|optimizer|scheduler|rng_state|scaler)/;

/**
 * Throws if the files of a folder or repository (without safetensors) are weights in a format that
 * is not read.
 * @throws CheckpointError with advice how to convert
 */
export function refuseForeignWeights(names: readonly string[], where: string): void {
  for (const { files, what, advice } of FORMATS) {
    const found = names.filter((name) => files.test(name) && !NOT_WEIGHTS.test(name));
    if (found.length > 0) {
      const some = found.slice(0, 3).join(', ') + (found.length > 3 ? ', ...' : '');
      throw new CheckpointError(`${where} holds only ${what} (${some}). ${advice}`);
    }
  }
}
