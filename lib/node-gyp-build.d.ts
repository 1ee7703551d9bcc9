declare module 'node-gyp-build' {
  /** Loads the addon that `resolve` finds. */
  function load(root: string): unknown;
  namespace load {
    /** Path of the `.node` file for this platform under a package root; throws if there is none. */
    function resolve(root: string): string;
  }
  export = load;
}
