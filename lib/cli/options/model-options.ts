import { type Command, InvalidArgumentError, Option } from 'commander';
import type { HubOptions } from '../../checkpoint/hub';
import type { DeviceName } from '../../device';
import type { QuantizationConfig } from '../../quant';
import { wholeNumber } from './numbers';
import { quantizationOption } from './quantization';

/** What every command takes. */
export interface OutputOptions {
  json?: boolean;
  quiet?: boolean;
}

/** What the commands take that work with a model. */
export interface ModelOptions extends OutputOptions {
  device: DeviceName;
  quantization?: QuantizationConfig;
  threads?: number;
  revision?: string;
  cacheDir?: string;
  offline?: boolean;
  kvBits?: 16 | 8 | 4 | 3;
}

export function addOutputOptions(command: Command): Command {
  return command
    .option('--json', 'print one JSON document on stdout, and nothing else')
    .option('--quiet', 'no progress and no notes on stderr');
}

export function addModelOptions(command: Command): Command {
  return addOutputOptions(command)
    .addOption(deviceOption())
    .addOption(quantizationOnLoad())
    .option('--threads <n>', 'threads of the CPU, 0 for one per core', wholeNumber(0, 1024))
    .option('--revision <name>', 'branch, tag or commit of a model on the hub')
    .option('--cache-dir <folder>', 'the Hugging Face cache to use')
    .option('--offline', 'never use the network');
}

export function quantizationOnLoad(): Option {
  return new Option(
    '--quantization <method>',
    "quantize on load: 'llm.int8[,threshold=6,mode=paper|bitsandbytes,...]' or 'bitnet[,lmHead=int8]'",
  ).argParser(quantizationOption);
}

/** For commands that generate or score: how the cache keeps keys and values. */
export function kvBitsOption(): Option {
  const meaning = 'bits of a cached key or value: 16 (default), 8, 4 or 3';
  return new Option('--kv-bits <bits>', meaning).argParser(kvBits);
}

function kvBits(text: string): number {
  if (/^(16|8|4|3)$/.test(text)) return Number(text);
  throw new InvalidArgumentError('It must be 16, 8, 4 or 3.');
}

export function deviceOption(): Option {
  return new Option('--device <name>', 'auto, cpu, cuda or cuda:N')
    .default('auto')
    .argParser(deviceName);
}

function deviceName(text: string): DeviceName {
  if (/^(auto|cpu|cuda(:\d+)?)$/.test(text)) return text as DeviceName;
  throw new InvalidArgumentError('It must be auto, cpu, cuda or cuda:N.');
}

/** The part of the options that says where models come from. */
export function hubOptions({ revision, cacheDir, offline }: ModelOptions): HubOptions {
  return {
    ...(revision !== undefined ? { revision } : {}),
    ...(cacheDir !== undefined ? { cacheDir } : {}),
    ...(offline ? { localFilesOnly: true } : {}),
  };
}
