/**
 * A `describe` for tests that need a GPU. Without one they are reported as skipped, with the reason
 * on the last line of the run; `npm run test:gpu` fails instead.
 */
export const describeGpu: typeof describe | typeof describe.skip = process.env.FEWBIT_TEST_GPU
  ? describe
  : describe.skip;
