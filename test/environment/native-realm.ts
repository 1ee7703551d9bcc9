import NodeEnvironment from 'jest-environment-node';

const shared = [
  'ArrayBuffer',
  'SharedArrayBuffer',
  'Int8Array',
  'Uint8Array',
  'Uint16Array',
  'Int32Array',
  'Uint32Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float32Array',
  'Float64Array',
  'Error',
  'RangeError',
  'TypeError',
] as const;

/**
 * Native code makes arrays and errors of Node's own realm, and Jest runs tests in another one,
 * where `instanceof Float32Array` and `toThrow(RangeError)` would fail for them. This environment
 * gives the tests Node's own classes.
 */
export default class NativeRealmEnvironment extends NodeEnvironment {
  override async setup(): Promise<void> {
    await super.setup();
    for (const name of shared) Object.assign(this.global, { [name]: globalThis[name] });
  }
}
