'use strict';
// The one source list: prints, sorted and one a line, the files below a folder that have one of the
// given extensions. binding.gyp and CMakeLists.txt both read it, so a new file needs no edit there.
//
//   node scripts/sources.js src .cpp
//   node scripts/sources.js cuda .cu .cpp
const { readdirSync } = require('node:fs');
const { extname, join } = require('node:path');

const root = join(__dirname, '..');

/** Paths relative to the package root, with forward slashes. */
function sources(folder, extensions) {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && extensions.includes(extname(entry.name)))
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort();
}

if (require.main === module) {
  const [folder, ...extensions] = process.argv.slice(2);
  console.log(sources(folder, extensions).join('\n'));
}

module.exports = { sources };
