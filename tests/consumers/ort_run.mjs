// Runs a network in ONNX Runtime: node ort_run.mjs CONSUMERS_DIR MODEL.onnx INPUT.npy OUTPUT.npy
// CONSUMERS_DIR holds node_modules with onnxruntime-node. Arrays are float32, C order.
import fs from 'node:fs';
import path from 'node:path';
import {createRequire} from 'node:module';

const [consumers, model, inputPath, outputPath] = process.argv.slice(2);
const ort = createRequire(path.join(path.resolve(consumers), 'package.json'))('onnxruntime-node');

function readNpy(file) {
  const bytes = fs.readFileSync(file);
  if (bytes.toString('latin1', 1, 6) !== 'NUMPY') throw new Error(`${file}: not a .npy file`);
  const major = bytes[6];
  const length = major === 1 ? bytes.readUInt16LE(8) : bytes.readUInt32LE(8);
  const start = (major === 1 ? 10 : 12) + length;
  const header = bytes.toString('latin1', major === 1 ? 10 : 12, start);
  if (!header.includes("'<f4'") || !header.includes("'fortran_order': False")) {
    throw new Error(`${file}: expected float32 in C order, found ${header}`);
  }
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(',').filter(s => s.trim()).map(Number);
  const data = new Float32Array(bytes.buffer.slice(bytes.byteOffset + start));
  return {shape, data};
}

function writeNpy(file, shape, data) {
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${shape.join(', ')},), }`;
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n';
  const head = Buffer.alloc(10);
  head.write('\x93NUMPY\x01\x00', 'latin1');
  head.writeUInt16LE(header.length, 8);
  fs.writeFileSync(file, Buffer.concat(
      [head, Buffer.from(header, 'latin1'), Buffer.from(data.buffer, data.byteOffset, data.byteLength)]));
}

const {shape, data} = readNpy(inputPath);
const session = await ort.InferenceSession.create(model, {logSeverityLevel: 3});
const result = await session.run({[session.inputNames[0]]: new ort.Tensor('float32', data, shape)});
const output = result[session.outputNames[0]];
writeNpy(outputPath, output.dims, output.data);
