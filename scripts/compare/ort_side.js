// ONNX Runtime's side of the comparison: features of one batch, again and again. The result is one line of JSON on standard output.
//
//   node ort_side.js MODULES MODEL BATCH SIZE WARMUP STEPS THREADS
//
// MODULES is the folder in which onnxruntime-node was installed, MODEL what `torch_side.py export --export MODEL` wrote: MODEL.onnx, and
// MODEL.input and MODEL.features to check that the features are PyTorch's.
'use strict';
const fs = require('fs');
const [modules, model, ...numbers] = process.argv.slice(2);
const [batch, size, warmup, steps, threads] = numbers.map(Number);
const ort = require(require.resolve('onnxruntime-node', { paths: [modules] }));
const about = JSON.parse(fs.readFileSync(require.resolve('onnxruntime-node/package.json', { paths: [modules] })));

function floats(file) {
  const raw = fs.readFileSync(file);
  return new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.byteLength));
}

async function main() {
  const session = await ort.InferenceSession.create(model + '.onnx', {
    executionProviders: ['cpu'], intraOpNumThreads: threads, interOpNumThreads: 1, executionMode: 'sequential',
    graphOptimizationLevel: 'all', extra: { session: { set_denormal_as_zero: '1' } },
  });
  const feeds = { x: new ort.Tensor('float32', floats(model + '.input'), [batch, 3, size, size]) };
  const expected = floats(model + '.features');
  let result = await session.run(feeds);
  let difference = 0;
  result.features.data.forEach((v, i) => { difference = Math.max(difference, Math.abs(v - expected[i])); });
  if (!(difference < 1e-3) || result.features.data.length !== expected.length) {
    throw new Error(`the features differ from PyTorch's by ${difference}: this is not the same encoder`);
  }
  for (let i = 1; i < warmup; i++) await session.run(feeds);
  const times = [];
  for (let i = 0; i < steps; i++) {
    const start = process.hrtime.bigint();
    result = await session.run(feeds);
    times.push(Number(process.hrtime.bigint() - start) / 1e9);
  }
  times.sort((a, b) => a - b);
  const middle = times.length >> 1;
  console.log(JSON.stringify({
    job: 'forward', onnxruntime: about.version, node: process.version, threads, difference,
    images_per_second: batch * steps / times.reduce((a, b) => a + b), images_per_second_fastest: batch / times[0],
    seconds_per_step_median: times.length % 2 ? times[middle] : (times[middle - 1] + times[middle]) / 2, seconds_per_step_fastest: times[0],
  }));
}

main().catch((err) => { console.error(String(err.message || err)); process.exit(1); });
