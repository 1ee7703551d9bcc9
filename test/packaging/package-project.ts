import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

export const root = join(__dirname, '..', '..');

/** The caller's environment without what npm tells the scripts it runs about this package. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const ours = /^(npm_(package|lifecycle|command|config_local_prefix)|FEWBIT_|INIT_CWD|NODE_ENV)/;
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)));
}

/** Runs a program and returns what it printed; when it fails, the error holds its whole output. */
export function run(cwd: string, command: string, args: string[]): string {
  try {
    return execFileSync(command, args, {
      cwd,
      env: cleanEnvironment(),
      encoding: 'utf8',
      stdio: 'pipe',
    });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(' ')} failed\n${stdout ?? ''}${stderr ?? ''}`);
  }
}

export interface PackedFile {
  path: string;
  size: number;
}

/** An empty project into which the packed package was installed, with install scripts disabled. */
export class PackageProject {
  readonly folder = mkdtempSync(join(tmpdir(), 'fewbit-package-'));
  readonly project = join(this.folder, 'project');
  readonly tarball: string;
  readonly files: PackedFile[];
  readonly size: number;

  constructor() {
    run(root, process.execPath, ['scripts/prebuild.mjs', '--as-built']);
    const packed = JSON.parse(
      run(root, 'npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', this.folder]),
    ) as [{ filename: string; size: number; files: PackedFile[] }];
    const [{ filename, files, size }] = packed;
    this.tarball = join(this.folder, filename);
    this.files = files;
    this.size = size;
    mkdirSync(this.project);
    writeFileSync(join(this.project, 'package.json'), '{ "name": "project", "private": true }');
    run(this.project, 'npm', [
      'install',
      '--ignore-scripts',
      '--prefer-offline',
      '--no-audit',
      '--no-fund',
      this.tarball,
    ]);
  }

  /** The packages npm installed, by path, as its lock file lists them. */
  packages(): Record<string, { hasInstallScript?: boolean; deprecated?: string }> {
    return JSON.parse(readFileSync(join(this.project, 'package-lock.json'), 'utf8')).packages;
  }

  /** Runs a script of the given file name in the project and parses what it printed. */
  runScript(name: string, source: string): unknown {
    writeFileSync(join(this.project, name), source);
    return JSON.parse(run(this.project, process.execPath, [name]));
  }

  dispose(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
