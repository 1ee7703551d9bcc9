'use strict';

/** Prints one line at the end on the tests of test/gpu: how many ran where, or why they did not. */
class GpuReporter {
  onRunComplete(_contexts, { testResults }) {
    const results = testResults
      .filter(({ testFilePath }) => testFilePath.includes('/test/gpu/'))
      .flatMap((file) => file.testResults);
    if (results.length === 0) return;
    const device = process.env.FEWBIT_TEST_GPU;
    const skipped = results.filter(({ status }) => status === 'pending').length;
    console.error(
      device === undefined
        ? `GPU tests:   ${skipped} skipped: ${process.env.FEWBIT_TEST_NO_GPU}`
        : `GPU tests:   ${results.length - skipped} ran on ${device}, ${skipped} skipped`,
    );
  }
}

module.exports = GpuReporter;
