// Writes dist/index.mjs and dist/index.d.mts from what dist/index.js exports, so that `import` and
// `require` give the same classes and the list cannot drift.
import { writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const dist = new URL('../dist/', import.meta.url);
const names = Object.keys(createRequire(dist)('./index.js')).sort();

writeFileSync(
  new URL('index.mjs', dist),
  [
    "import fewbit from './index.js';",
    '',
    ...names.map((name) => `export const ${name} = fewbit.${name};`),
    '',
  ].join('\n'),
);
writeFileSync(new URL('index.d.mts', dist), "export * from './index.js';\n");
