import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FewbitError } from '../../lib/errors';
import { loadAddon } from '../../lib/load-addon';

describe('loadAddon', () => {
  const built = join(__dirname, '..', '..', 'build', 'Release', 'fewbit.node');
  const prebuilds = join('prebuilds', `${process.platform}-${process.arch}`);
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'fewbit-load-'));
  });

  afterEach(() => {
    delete process.env.FEWBIT_PREBUILD;
    rmSync(folder, { recursive: true });
  });

  function failure(root = folder): FewbitError {
    try {
      loadAddon(root);
    } catch (error) {
      expect(error).toBeInstanceOf(FewbitError);
      expect((error as FewbitError).code).toBe('ERR_FEWBIT_ADDON');
      return error as FewbitError;
    }
    throw new Error('the addon was loaded');
  }

  test('loads the build of this checkout', () => {
    expect(loadAddon()).toHaveProperty('openDevice');
  });

  test('loads a prebuild', () => {
    mkdirSync(join(folder, prebuilds), { recursive: true });
    symlinkSync(built, join(folder, prebuilds, 'fewbit.glibc.node'));
    expect(loadAddon(folder)).toHaveProperty('openDevice');
  });

  test('lists the folders it searched, the platform and the command that compiles', () => {
    const { message } = failure();
    expect(message).toContain(`${join(folder, 'build', 'Release')}: no such folder`);
    expect(message).toContain(`${join(folder, prebuilds)}: no such folder`);
    expect(message).toContain(`Node.js ${process.versions.node}`);
    expect(message).toContain(`npx node-gyp@12 rebuild --directory "${folder}"`);
  });

  test('names the setup script in a checkout', () => {
    mkdirSync(join(folder, 'scripts'));
    writeFileSync(join(folder, 'scripts', 'setup.mjs'), '');
    expect(failure().message).toContain(`node ${join(folder, 'scripts', 'setup.mjs')}`);
  });

  test('says when only another C library is served', () => {
    mkdirSync(join(folder, prebuilds), { recursive: true });
    writeFileSync(join(folder, prebuilds, 'fewbit.musl.node'), '');
    expect(failure().message).toContain('fewbit.musl.node, not for this C library');
  });

  test('passes on why a file could not be loaded', () => {
    mkdirSync(join(folder, 'build', 'Release'), { recursive: true });
    const file = join(folder, 'build', 'Release', 'fewbit.node');
    writeFileSync(file, 'not a library');
    const error = failure();
    expect(error.message).toContain(`${file}: `);
    expect(error.message).toMatch(/file too short|invalid ELF header/);
    expect(error.cause).toBeDefined();
  });

  test('FEWBIT_PREBUILD names the only file that is tried', () => {
    process.env.FEWBIT_PREBUILD = built;
    expect(loadAddon(folder)).toHaveProperty('openDevice');

    process.env.FEWBIT_PREBUILD = join(folder, 'missing.node');
    const { message } = failure();
    expect(message).toContain(`${join(folder, 'missing.node')}: no such file`);
    expect(message).toContain('nothing else was tried');
    expect(message).toContain('unset FEWBIT_PREBUILD');
  });

  test('FEWBIT_PREBUILD may name a package folder', () => {
    process.env.FEWBIT_PREBUILD = join(__dirname, '..', '..');
    expect(loadAddon(folder)).toHaveProperty('openDevice');
  });
});
