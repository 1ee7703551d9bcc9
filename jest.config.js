'use strict';
const { availableParallelism } = require('node:os');

const cores = availableParallelism();

/** @type {import('jest').Config} */
module.exports = {
  testMatch: ['<rootDir>/test/**/*.test.ts'],
  testEnvironment: '<rootDir>/test/environment/native-realm.ts',
  globalSetup: '<rootDir>/test/environment/probe-gpu.ts',
  reporters: ['default', '<rootDir>/test/environment/gpu-reporter.js'],
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      {
        jsc: {
          parser: { syntax: 'typescript', explicitResourceManagement: true },
          target: 'es2022',
        },
        module: { type: 'commonjs' },
      },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/(dist|build|prebuilds|\\.cache|\\.gpu)/'],
  testTimeout: 120_000,
  // The native code has threads of its own, so half of a big machine is enough.
  maxWorkers: cores <= 4 ? cores : Math.floor(cores / 2),
};
