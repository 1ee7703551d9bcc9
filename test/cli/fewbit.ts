import { spawn } from 'node:child_process';
import { join } from 'node:path';

/** What a run of the command line left. */
export interface CliResult {
  /** Exit code; null when a signal ended the process. */
  code: number | null;
  stdout: string;
  stderr: string;
}

export interface CliOptions {
  /** Text for stdin. */
  input?: string;
  env?: NodeJS.ProcessEnv;
  /** Sent when stdout or stderr shows something for the first time. */
  signal?: NodeJS.Signals;
}

const MAIN = join(__dirname, '..', '..', 'dist', 'cli', 'main.js');

/** Runs `fewbit` as users do: a process of its own, from `dist`, on the CPU. */
export function fewbit(args: readonly string[], options: CliOptions = {}): Promise<CliResult> {
  const { input = '', env = {}, signal } = options;
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: { ...process.env, FEWBIT_DEVICE: 'cpu', ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  const result = { code: null as number | null, stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) {
    child[name].setEncoding('utf8').on('data', (text: string) => {
      if (signal && result.stdout + result.stderr === '') child.kill(signal);
      result[name] += text;
    });
  }
  child.stdin.end(input);
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ ...result, code }));
  });
}

/** Runs `fewbit ... --json` and parses what it printed; throws with its errors when it failed. */
export async function fewbitJson<T>(args: readonly string[], options?: CliOptions): Promise<T> {
  const { code, stdout, stderr } = await fewbit([...args, '--json'], options);
  if (code !== 0)
    throw new Error(`fewbit ${args.join(' ')} ended with ${code}: ${stdout}${stderr}`);
  if (stderr !== '') throw new Error(`fewbit ${args.join(' ')} --json wrote to stderr: ${stderr}`);
  return JSON.parse(stdout) as T;
}
