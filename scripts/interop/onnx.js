#!/usr/bin/env node
// Checks in the real ONNX Runtime what `moco export --format onnx` writes.
//
//   node scripts/interop/onnx.js --modules FOLDER --moco ./moco --model run --images png/ [--probe FILE] [--tolerance 1e-4]
//
// FOLDER is where `npm install --ignore-scripts onnxruntime-node` was run; png/ holds PNG files of exactly the size of the encoder's views, such as
// scripts/interop/export.py makes (--work). For each input (uint8, float) and output (backbone, head), in batches of 1 and of 5, the model's rows are compared with
// those of `moco embed`; the logits of a linear probe with weight*(scale*row) + bias, in float64. The probe is --probe's, or one with random weights that is
// written here; that one is also held to be refused for another encoder. The logits of a linear head, at length one, are compared with its features.
//
// Prints the largest absolute differences and exits with 1 if one is above --tolerance.
'use strict';
const { execFileSync, spawnSync } = require('child_process');
const fs = require('fs');
const os = require('os');
const path = require('path');
const zlib = require('zlib');
const { values: a } = require('util').parseArgs({
  options: {
    modules: { type: 'string' }, moco: { type: 'string' }, model: { type: 'string' }, images: { type: 'string' }, probe: { type: 'string' },
    tolerance: { type: 'string', default: '1e-4' },
  },
});
for (const name of ['modules', 'moco', 'model', 'images']) {
  if (!a[name]) { console.error(`give --${name}`); process.exit(2); }
}
const ort = require(require.resolve('onnxruntime-node', { paths: [a.modules] }));
const about = JSON.parse(fs.readFileSync(require.resolve('onnxruntime-node/package.json', { paths: [a.modules] })));
const work = fs.mkdtempSync(path.join(os.tmpdir(), 'moco-onnx-'));

// moco runs a command and returns the last of its lines of JSON.
function moco(...args) {
  const lines = execFileSync(a.moco, [...args, '--json'], { maxBuffer: 1 << 28 }).toString().trim().split('\n');
  return JSON.parse(lines[lines.length - 1]);
}

// png reads an 8-bit RGB image as planes of bytes.
function png(file, size) {
  const raw = fs.readFileSync(file);
  const data = [];
  for (let at = 8; at < raw.length;) {
    const length = raw.readUInt32BE(at);
    const kind = raw.toString('latin1', at + 4, at + 8);
    const body = raw.subarray(at + 8, at + 8 + length);
    if (kind === 'IHDR' && (body.readUInt32BE(0) !== size || body.readUInt32BE(4) !== size || body[8] !== 8 || body[9] !== 2 || body[12] !== 0)) {
      throw new Error(`${file} is no plain RGB image of ${size} x ${size} pixels`);
    }
    if (kind === 'IDAT') data.push(body);
    at += 12 + length;
  }
  const packed = zlib.inflateSync(Buffer.concat(data));
  const line = 3 * size;
  const pixels = new Uint8Array(line * size);
  for (let y = 0; y < size; y++) {
    const filter = packed[y * (line + 1)];
    for (let i = 0; i < line; i++) {
      const left = i < 3 ? 0 : pixels[y * line + i - 3];
      const up = y === 0 ? 0 : pixels[(y - 1) * line + i];
      const corner = i < 3 || y === 0 ? 0 : pixels[(y - 1) * line + i - 3];
      const [dl, du, dc] = [Math.abs(up - corner), Math.abs(left - corner), Math.abs(left + up - 2 * corner)];
      const paeth = dl <= du && dl <= dc ? left : du <= dc ? up : corner;
      pixels[y * line + i] = packed[y * (line + 1) + 1 + i] + [0, left, up, (left + up) >> 1, paeth][filter];
    }
  }
  const planes = new Uint8Array(pixels.length);
  for (let p = 0; p < size * size; p++) for (let c = 0; c < 3; c++) planes[c * size * size + p] = pixels[3 * p + c];
  return planes;
}

// rows are what moco embed writes, and the names of its files.
function rows(layer) {
  const file = path.join(work, layer + '.npy');
  moco('embed', '--model', a.model, '--data', a.images, '--features', layer, '--precision', 'fp32', '--out', file);
  const raw = fs.readFileSync(file);
  const start = 10 + raw.readUInt16LE(8);
  const all = new Float32Array(raw.buffer.slice(raw.byteOffset + start, raw.byteOffset + raw.length));
  const names = fs.readFileSync(file + '.jsonl', 'utf8').trim().split('\n').map((l) => path.join(a.images, JSON.parse(l).path));
  const dim = all.length / names.length;
  return { names, dim, rows: names.map((_, i) => all.subarray(i * dim, (i + 1) * dim)) };
}

// safetensors writes and reads float32 tensors.
function writeTensors(file, metadata, tensors) {
  const header = { __metadata__: metadata };
  let at = 0;
  for (const [name, shape, data] of tensors) header[name] = { dtype: 'F32', shape, data_offsets: [at, at += data.byteLength] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  fs.writeFileSync(file, Buffer.concat([length, text, ...tensors.map(([, , data]) => Buffer.from(data.buffer))]));
}

function readProbe(file) {
  const raw = fs.readFileSync(file);
  const start = 8 + Number(raw.readBigUInt64LE(0));
  const header = JSON.parse(raw.toString('utf8', 8, start));
  const tensor = (name) => {
    const [from, to] = header[name].data_offsets;
    return new Float32Array(raw.buffer.slice(raw.byteOffset + start + from, raw.byteOffset + start + to));
  };
  return { ...header.__metadata__, weight: tensor('weight'), bias: tensor('bias') };
}

// compare runs a model in batches of 1 and of 5 and returns the largest difference to what is expected of each image.
async function compare(file, key, input, images, size, expected, change = (row) => row) {
  const session = await ort.InferenceSession.create(file, { executionProviders: ['cpu'] });
  if (session.inputNames.join() !== 'images' || session.outputNames.join() !== key) throw new Error(`${file} has ${session.inputNames} and ${session.outputNames}`);
  let worst = 0;
  for (const batch of [1, 5]) {
    for (let lo = 0; lo + batch <= images.length; lo += batch) {
      const each = 3 * size * size;
      const x = new input.array(batch * each);
      for (let i = 0; i < batch; i++) x.set(input.of(images[lo + i]), i * each);
      const out = (await session.run({ images: new ort.Tensor(input.type, x, [batch, 3, size, size]) }))[key];
      const dim = expected[0].length;
      if (out.dims.join() !== [batch, dim].join()) throw new Error(`the output is ${out.dims}, want ${[batch, dim]}`);
      for (let i = 0; i < batch; i++) {
        change(Array.from(out.data.subarray(i * dim, (i + 1) * dim))).forEach((v, c) => {
          const d = Math.abs(v - expected[lo + i][c]);
          worst = d > worst || Number.isNaN(d) ? d : worst;
        });
      }
    }
  }
  await session.release();
  return worst;
}

// random is the same numbers from 0 to 1 in each run (Park and Miller).
let seed = 1;
const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;

const unit = (row) => { const n = Math.hypot(...row); return row.map((v) => v / n); };

async function main() {
  const info = moco('info', a.model);
  const meta = info.metadata;
  const size = Number(meta.size);
  const layers = { backbone: rows('backbone'), head: rows('head') };
  const images = layers.head.names.map((name) => png(name, size));
  if (images.length < 5) throw new Error('give at least 5 images');
  for (const { rows } of Object.values(layers)) {
    const spread = Math.max(...rows.map((row) => Math.max(...row.map((v, i) => Math.abs(v - rows[0][i])))));
    if (!(spread > 100 * Number(a.tolerance))) throw new Error('all images have the same features: nothing is compared');
  }
  const [mean, std] = [meta.mean, meta.std].map((t) => t.split(' ').map(Number));
  const inputs = {
    uint8: { type: 'uint8', array: Uint8Array, of: (p) => p },
    float: { type: 'float32', array: Float32Array, of: (p) => Float32Array.from(p, (v, i) => (v / 255 - mean[Math.floor(i / size / size)]) / std[Math.floor(i / size / size)]) },
  };
  console.log(`onnxruntime-node ${about.version}, node ${process.version}; ${meta.arch}, stem ${meta.stem}, width ${meta.width}, head ${meta.head} (${meta.dim}), ${size} px; ${images.length} images`);
  let worst = 0;
  const report = (what, d) => {
    console.log(`${what}: largest difference ${d.toExponential(1)}`);
    worst = d > worst || Number.isNaN(d) ? d : worst;
  };
  for (const [kind, input] of Object.entries(inputs)) {
    for (const [layer, { rows }] of Object.entries(layers)) {
      const file = path.join(work, `${kind}-${layer}.onnx`);
      moco('export', '--model', a.model, '--out', file, '--input', kind, '--output', layer);
      report(`${kind} input, ${layer} features`, await compare(file, 'features', input, images, size, rows));
    }
    const probes = a.probe ? [a.probe] : Object.entries(layers).map(([layer, { dim }]) => {
      const file = path.join(work, `${layer}.safetensors`);
      const weight = Float32Array.from({ length: 7 * dim }, () => (random() - 0.5) / Math.sqrt(dim));
      const bias = Float32Array.from({ length: 7 }, () => random() - 0.5);
      const metadata = { kind: 'linear probe', features: layer, scale: String(Math.sqrt(dim)), classes: JSON.stringify([...'abcdefg']), encoder: info.sha256 };
      writeTensors(file, metadata, [['weight', [7, dim], weight], ['bias', [7], bias]]);
      const other = path.join(work, 'other.safetensors');
      writeTensors(other, { ...metadata, encoder: '0'.repeat(64) }, [['weight', [7, dim], weight], ['bias', [7], bias]]);
      const refused = spawnSync(a.moco, ['export', '--model', a.model, '--out', path.join(work, 'refused.onnx'), '--probe', other]);
      if (refused.status !== 1 || !String(refused.stderr).includes('another encoder')) throw new Error(`a probe of another encoder gives ${refused.status}: ${refused.stderr}`);
      return file;
    });
    for (const probe of probes) {
      const p = readProbe(probe);
      const { dim, rows } = layers[p.features];
      const logits = rows.map((row) => Array.from(p.bias, (b, c) => row.reduce((sum, v, i) => sum + p.weight[c * dim + i] * Number(p.scale) * v, b)));
      const file = path.join(work, `${kind}-${p.features}-probe.onnx`);
      moco('export', '--model', a.model, '--out', file, '--input', kind, '--probe', probe);
      report(`${kind} input, logits of a probe on ${p.features}`, await compare(file, 'logits', inputs[kind], images, size, logits));
    }
    if (meta.head === 'linear') {
      const file = path.join(work, `${kind}-logits.onnx`);
      execFileSync(a.moco, ['export', '--model', a.model, '--out', file, '--input', kind, '--output', 'logits'], { stdio: 'ignore' });
      report(`${kind} input, logits of the head at length one`, await compare(file, 'logits', inputs[kind], images, size, layers.head.rows, unit));
    }
  }
  fs.rmSync(work, { recursive: true });
  if (!(worst <= Number(a.tolerance))) throw new Error(`a difference of ${worst} is above ${a.tolerance}`);
}

main().catch((err) => { console.error('FAILED: ' + (err.message || err)); process.exit(1); });
