// What the map's colours mean: label, prediction, certainty, cluster, outlier score, folder.

import * as api from "./api.js";
import { category, none, number, rgb } from "./colours.js";
import { isDone, store } from "./store.js";

// The choices, in the order of the menu. A column comes from the server; the page has labels and
// predictions itself.
export const choices = [
  { name: "label", title: "Label" },
  { name: "prediction", title: "Prediction" },
  { name: "confidence", title: "How sure" },
  { name: "cluster", title: "Cluster" },
  { name: "outlier", title: "Outlier score" },
  { name: "truth", title: "Folder" },
];

const columns = new Map();
export const forget = (name) => columns.delete(name);

// columnOf gives { kind, names, values }, or null while there is none.
export async function columnOf(name) {
  if (name === "label") return { kind: "category", names: store.names, values: store.label };
  if (name === "prediction") {
    return store.prediction && { kind: "category", names: store.names, values: store.prediction };
  }
  if (name === "confidence") return store.confidence && { kind: "number", names: [], values: store.confidence };
  const needs = { cluster: "clusters", outlier: "outliers" }[name];
  if (needs && !isDone(needs)) return null;
  if (!columns.has(name)) {
    const column = await api.column(name);
    if (!column) return null;
    columns.set(name, column);
  }
  return columns.get(name);
}

// paint gives each picture a colour and a size, and the order in which they are drawn: what is
// chosen comes last.
export function paint(column, { selected, shown }) {
  const n = store.state.count;
  const rgba = new Uint8Array(4 * n);
  const sizes = new Uint8Array(n);
  const rank = new Uint8Array(n); // 0 is drawn first
  const colour = column ? colouring(column) : () => rgb(none());
  for (let i = 0; i < n; i++) {
    const has = Boolean(column) && isKnown(column, i);
    const picked = selected.has(i);
    const dim = shown !== null && !picked && !shown.has(i);
    const [r, g, b] = colour(i);
    rgba[4 * i] = r;
    rgba[4 * i + 1] = g;
    rgba[4 * i + 2] = b;
    rgba[4 * i + 3] = dim ? 45 : has ? 225 : 130;
    sizes[i] = picked ? 8 : has ? 5 : 4;
    rank[i] = picked ? 2 : has && !dim ? 1 : 0;
  }
  return { rgba, sizes, order: byRank(rank) };
}

function byRank(rank) {
  const start = [0, 0, 0];
  for (const r of rank) for (let k = r + 1; k < 3; k++) start[k]++;
  const order = new Uint32Array(rank.length);
  for (let i = 0; i < rank.length; i++) order[start[rank[i]]++] = i;
  return order;
}

const isKnown = (column, i) => (column.kind === "number" ? !Number.isNaN(column.values[i]) : column.values[i] >= 0);

function colouring(column) {
  const empty = rgb(none());
  if (column.kind === "category") {
    const colours = column.names.map((_, i) => rgb(category(i)));
    return (i) => colours[column.values[i]] || empty;
  }
  const [low, high] = range(column.values);
  const table = Array.from({ length: 65 }, (_, i) => number(i / 64));
  return (i) => {
    const value = column.values[i];
    if (Number.isNaN(value)) return empty;
    return table[Math.round(64 * Math.min(1, Math.max(0, (value - low) / (high - low || 1))))];
  };
}

// range leaves out the outermost hundredth at each end, so that a few wild values do not make all
// others alike.
export function range(values) {
  const known = Float32Array.from(values)
    .filter((v) => !Number.isNaN(v))
    .sort();
  if (!known.length) return [0, 1];
  const at = (share) => known[Math.min(known.length - 1, Math.floor(share * known.length))];
  return [at(0.01), at(0.99)];
}
