// What the page knows of the set: its state, labels, decisions, predictions. Views listen for
// changes.

import * as api from "./api.js";

const listeners = new Map();

// on calls run at every event of that name, and returns what ends it.
export function on(event, run) {
  if (!listeners.has(event)) listeners.set(event, new Set());
  listeners.get(event).add(run);
  return () => listeners.get(event).delete(run);
}

export function emit(event, detail) {
  for (const run of listeners.get(event) || []) run(detail);
}

export const store = {
  state: null, // the last /api/state
  names: [], // class names; a label is a place in this list
  label: new Int32Array(0),
  decision: [], // "keep", "drop", "ok" or "" a picture
  prediction: null, // Int32Array of places in names, or null
  confidence: null,
  classifier: null, // the last /api/classifier
};

// classAt gives a class's place in the list, and adds it when it is new.
export function classAt(name) {
  if (!name) return -1;
  const at = store.names.indexOf(name);
  return at >= 0 ? at : store.names.push(name) - 1;
}

export const labelOf = (image) => store.names[store.label[image]] || "";
export const predictionOf = (image) => (store.prediction ? store.names[store.prediction[image]] || "" : "");

// isDone tells whether a part of the work is done: what it makes can be asked for.
export const isDone = (part, work = store.state.work) => Boolean(work && work[part] && work[part].state === "done");

export const hasFeatures = () => Boolean(store.state.vectors) || isDone("encode");

// load reads everything; it is called once, and again when the set or a class's name changed.
export async function load() {
  const state = await api.get("/api/state");
  api.setEpoch(state.epoch);
  const [label, decision] = await Promise.all([api.column("label"), api.column("decision")]);
  store.state = state;
  document.documentElement.dataset.version = state.version;
  store.names = state.classes.map((c) => c.name);
  store.label = label ? remapped(label) : new Int32Array(state.count).fill(-1);
  store.decision = new Array(state.count).fill("");
  if (decision)
    decision.values.forEach((at, image) => {
      if (at >= 0) store.decision[image] = decision.names[at];
    });
  emit("state");
  emit("labels", null);
}

// remapped turns places in the column's own list of names into places in the page's list.
function remapped(column) {
  const places = column.names.map(classAt);
  return Int32Array.from(column.values, (at) => (at < 0 ? -1 : places[at]));
}

// summarise takes what every answer to a change says of the whole set.
export function summarise(answer) {
  const { version, classes, labelled, undo, redo } = answer;
  if (!classes) return;
  classes.forEach((c) => classAt(c.name));
  Object.assign(store.state, { version, classes, labelled, undo, redo });
  told();
}

function told() {
  document.documentElement.dataset.version = store.state.version;
  emit("state");
}

// changes asks what other windows, undo or redo changed since the version that the page knows.
export async function changes(since = store.state.version) {
  const answer = await api.get(`/api/changes?since=${since}`);
  const known = new Set(store.names);
  const renamed = answer.classes && store.state.classes.some((c) => !answer.classes.find((d) => d.name === c.name));
  if (renamed || answer.reload) return load();
  answer.images.forEach((image, i) => {
    store.label[image] = classAt(answer.labels[i]);
    store.decision[image] = answer.decisions[i];
  });
  if (answer.classes) summarise(answer);
  else Object.assign(store.state, await api.get("/api/state"));
  if (known.size !== store.names.length) emit("state");
  emit("labels", answer.images);
  return undefined;
}

// predictions reads what the classifier now thinks, and what it would ask next.
export async function predictions() {
  const classifier = await api.get("/api/classifier");
  const [prediction, confidence] = classifier.ready
    ? await Promise.all([api.column("prediction"), api.column("confidence")])
    : [null, null];
  store.prediction = prediction ? remapped(prediction) : null;
  store.confidence = confidence ? confidence.values : null;
  store.classifier = classifier;
  document.documentElement.dataset.learned = classifier.version;
  emit("classifier");
}

const pages = new Map(); // names of pictures, 500 a page
const pageSize = 500;

// nameOf gives a picture's name if it is known; otherwise it asks, and "names" is emitted when it
// came.
export function nameOf(image) {
  const page = Math.floor(image / pageSize);
  const known = pages.get(page);
  if (Array.isArray(known)) return known[image - page * pageSize] || "";
  if (!known) {
    pages.set(page, "asked");
    api
      .get(`/api/names?from=${page * pageSize}&count=${pageSize}`)
      .then((answer) => {
        pages.set(page, answer.names);
        emit("names");
      })
      .catch(() => pages.delete(page));
  }
  return "";
}
