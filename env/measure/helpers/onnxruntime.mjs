// Times networks in ONNX Runtime: node onnxruntime.mjs FOLDER, where FOLDER/node_modules holds
// onnxruntime-node. Requests and answers are those of env/measure/helper_runtime.h.
//
// Reads its own answers' format strictly: one line in, one line out, whatever happens.
import fs from 'node:fs';
import path from 'node:path';
import process from 'node:process';
import readline from 'node:readline';
import {createRequire} from 'node:module';

const WARM_UP_RUNS = 3;
const WARM_UP_US = 10000;

const folder = path.resolve(process.argv[2] ?? '.');
let ort;
let version;
let missing;
try {
  const require = createRequire(path.join(folder, 'package.json'));
  ort = require('onnxruntime-node');
  version = JSON.parse(fs.readFileSync(path.join(folder, 'node_modules/onnxruntime-node/package.json'))).version;
} catch (error) {
  missing = `onnxruntime-node is not in ${folder}: ${error.message}`;
}

const networks = new Map();
let nextId = 1;

// Values in [-1, 1), the same every time (Numerical Recipes' linear congruential generator).
function randomValues(count) {
  const values = new Float32Array(count);
  let state = 1;
  for (let i = 0; i < count; ++i) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[i] = state / 2147483648 - 1;
  }
  return values;
}

async function load(threads, shape, file) {
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: Number(threads),
    interOpNumThreads: 1,
    executionMode: 'sequential',
    graphOptimizationLevel: 'all',
    logSeverityLevel: 4,
  });
  const dims = shape.split('x').map(Number);
  const values = randomValues(dims.reduce((product, size) => product * size, 1));
  const network = {session, feeds: {[session.inputNames[0]]: new ort.Tensor('float32', values, dims)}, warm: false};
  try {
    await session.run(network.feeds);  // so that what is refused is refused here
  } catch (error) {
    await session.release();
    throw error;
  }
  networks.set(String(nextId), network);
  return String(nextId++);
}

async function runOnce(network) {
  const start = process.hrtime.bigint();
  await network.session.run(network.feeds);
  return Number(process.hrtime.bigint() - start) / 1000;
}

async function time(id, runs) {
  const network = networks.get(id);
  if (!network) throw new Error(`there is no network ${id}`);
  if (!network.warm) {
    let total = 0;
    for (let i = 0; i < WARM_UP_RUNS || total < WARM_UP_US; ++i) total += await runOnce(network);
    network.warm = true;
  }
  const times = [];
  for (let i = 0; i < Number(runs); ++i) times.push((await runOnce(network)).toFixed(3));
  return times.join(' ');
}

async function unload(id) {
  const network = networks.get(id);
  if (!network) throw new Error(`there is no network ${id}`);
  networks.delete(id);
  await network.session.release();
  globalThis.gc?.();
  return '';
}

async function answer(line) {
  const words = line.split(' ');
  if (missing) throw new Error(missing);
  switch (words[0]) {
    case 'version': return version;
    case 'load': return await load(words[1], words[2], words.slice(3).join(' '));
    case 'time': return await time(words[1], words[2]);
    case 'unload': return await unload(words[1]);
    default: throw new Error(`unknown request ${words[0]}`);
  }
}

for await (const line of readline.createInterface({input: process.stdin, crlfDelay: Infinity})) {
  let said;
  try {
    said = `ok ${await answer(line)}`.trimEnd();
  } catch (error) {
    said = `error ${String(error?.message ?? error).replace(/\s+/g, ' ')}`;
  }
  fs.writeSync(1, said + '\n');
}
