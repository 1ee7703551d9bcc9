import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { PackageProject, root, run } from './package-project';

const addOnCpu = `
  using(Device.open('cpu'), (device) => {
    const a = device.from('f32', [3], new Float32Array([1, 2, 3]));
    const b = device.from('f32', [3], new Float32Array([10, 20, 30]));
    const sum = device.allocate('f32', [3]);
    device.run('add', [a, b, sum]);
    console.log(JSON.stringify([...sum.read()]));
  });
  function using(device, body) {
    try { body(device); } finally { device.dispose(); }
  }
`;

describe('the packed package', () => {
  let installed: PackageProject;

  beforeAll(() => {
    installed = new PackageProject();
  }, 300_000);

  afterAll(() => installed?.dispose());

  test('holds the build, the addon and the sources, and nothing else', () => {
    const paths = installed.files.map(({ path }) => path);
    const allowed =
      /^(dist\/|prebuilds\/|src\/|cuda\/|cmake\/|scripts\/sources\.js$|(package\.json|CMakeLists\.txt|binding\.gyp|LICENSE|README\.md)$)/;
    expect(paths.filter((path) => !allowed.test(path))).toEqual([]);
    expect(paths).toEqual(
      expect.arrayContaining([
        'LICENSE',
        'binding.gyp',
        'scripts/sources.js',
        'dist/index.js',
        'dist/index.mjs',
        'dist/index.d.ts',
        'dist/index.d.mts',
        'dist/cli/main.js',
      ]),
    );
    expect(paths.filter((path) => path.endsWith('.ts') && !/\.d\.m?ts$/.test(path))).toEqual([]);
  });

  test('has one addon a platform, the CUDA library where it was built, and stays small', () => {
    const paths = installed.files.map(({ path }) => path);
    const folder = `prebuilds/${process.platform}-${process.arch}`;
    expect(paths.filter((path) => path.endsWith('.node'))).toEqual([`${folder}/fewbit.glibc.node`]);
    const built = existsSync(join(root, 'build', 'Release', 'libfewbit_cuda.so'));
    expect(paths.includes(`${folder}/libfewbit_cuda.so`)).toBe(built);
    expect(installed.size).toBeLessThan(100e6);
  });

  test('brings no install script and nothing deprecated, its dependencies included', () => {
    const packages = Object.entries(installed.packages());
    expect(packages.map(([path]) => path)).toContain('node_modules/fewbit');
    expect(packages.filter(([, entry]) => entry.hasInstallScript || entry.deprecated)).toEqual([]);
  });

  test('runs an op from CommonJS', () => {
    const source = `const { Device } = require('fewbit');${addOnCpu}`;
    expect(installed.runScript('add.cjs', source)).toEqual([11, 22, 33]);
  });

  test('runs an op from an ES module', () => {
    const source = `import { Device } from 'fewbit';${addOnCpu}`;
    expect(installed.runScript('add.mjs', source)).toEqual([11, 22, 33]);
  });

  test('gives the same exports to import and require', () => {
    const source = `
      import { createRequire } from 'node:module';
      import * as imported from 'fewbit';
      const required = createRequire(import.meta.url)('fewbit');
      const names = Object.keys(required);
      console.log(JSON.stringify({
        different: names.filter((name) => imported[name] !== required[name]),
        unknown: Object.keys(imported).filter((name) => !names.includes(name)),
        count: names.length,
      }));
    `;
    const result = installed.runScript('same.mjs', source);
    expect(result).toEqual({ different: [], unknown: [], count: expect.any(Number) });
    expect((result as { count: number }).count).toBeGreaterThan(10);
  });

  test('has a command line whose doctor speaks JSON', () => {
    const output = run(installed.project, 'npx', ['--no-install', 'fewbit', 'doctor', '--json']);
    expect(JSON.parse(output)).toMatchObject({ cpu: { isa: expect.any(String) } });
  });

  test('passes publint', () => {
    const publint = join(root, 'node_modules', 'publint', 'src', 'cli.js');
    run(root, process.execPath, [publint, 'run', installed.tarball, '--strict']);
  });

  test('resolves to the right types under every module resolution', () => {
    const attw = join(root, 'node_modules', '@arethetypeswrong', 'cli', 'dist', 'index.js');
    run(root, process.execPath, [attw, installed.tarball, '--no-color']);
  });

  // Last: it takes the addon away.
  test('says what was tried and how to compile when there is no addon', () => {
    const folder = join(installed.project, 'node_modules', 'fewbit');
    renameSync(join(folder, 'prebuilds'), join(folder, 'elsewhere'));
    const source = `
      try { require('fewbit').Device.open('cpu'); }
      catch ({ code, message }) { console.log(JSON.stringify({ code, message })); }
    `;
    const error = installed.runScript('missing.cjs', source) as { code: string; message: string };
    expect(error.code).toBe('ERR_FEWBIT_ADDON');
    expect(error.message).toContain(`${join(folder, 'build', 'Release')}: no such folder`);
    expect(error.message).toContain('npx node-gyp@12 rebuild --directory');
  });
});
