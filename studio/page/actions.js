// Changes: shown at once, sent one after another, taken back when the server refuses.

import * as api from "./api.js";
import { changes, classAt, emit, load, store, summarise } from "./store.js";
import { toast } from "./toast.js";
import { pictures } from "./format.js";

let last = Promise.resolve(); // the change before this one
let pending = 0; // changes that the server has not confirmed

function count(by) {
  pending += by;
  document.documentElement.dataset.pending = String(pending);
}

count(0);

// Whoever closes the page while a change is on its way is asked first.
window.addEventListener("beforeunload", (event) => {
  if (pending) event.preventDefault();
});

// send does a change after those before it. A refused one reloads what the server has.
function send(path, body) {
  count(1);
  last = last.then(async () => {
    try {
      const before = store.state.version;
      const answer = await api.post(path, body);
      const others = answer.version > before + 1; // somebody else's changes came between
      summarise(answer);
      if (others) await changes(before);
      return answer;
    } catch (error) {
      toast(error.message, error.status === 409 ? {} : { kind: "bad" });
      if (error.status !== 0 && error.status !== 409) await load().catch(() => {});
      return null;
    } finally {
      count(-1);
    }
  });
  return last;
}

// label gives pictures a class; "" takes their label away.
export function label(images, name, quiet = false) {
  if (!images.length) return Promise.resolve();
  const at = classAt(name);
  for (const image of images) store.label[image] = at;
  emit("labels", images);
  if (!quiet && images.length > 1) {
    toast(name ? `${pictures(images.length)} labelled ${name}` : `${pictures(images.length)} without a label now`, {
      action: "Undo",
      run: undo,
    });
  }
  return send("/api/label", { images, label: name });
}

// accept makes labels of the predictions of these pictures.
export function accept(images) {
  const sure = images.filter((image) => store.prediction && store.prediction[image] >= 0);
  if (!sure.length) {
    toast("There are no predictions to accept yet: label a few pictures of two classes first.");
    return Promise.resolve();
  }
  for (const image of sure) store.label[image] = store.prediction[image];
  emit("labels", sure);
  if (sure.length > 1) toast(`${pictures(sure.length)} accepted as predicted`, { action: "Undo", run: undo });
  return send("/api/accept", { images: sure });
}

// decide keeps a decision: "keep", "drop", "ok", or "" for none.
export function decide(images, decision) {
  if (!images.length) return Promise.resolve();
  for (const image of images) store.decision[image] = decision;
  emit("labels", images);
  return send("/api/decide", { images, decision });
}

export const addClass = (name) => {
  classAt(name);
  return send("/api/class", { name });
};

export const renameClass = (name, to) => send("/api/class", { name, to }).then(() => load());

async function back(path, empty, done) {
  const before = store.state.version;
  const answer = await send(path, {});
  if (!answer) return;
  if (!answer.images || !answer.images.length) {
    if (!answer.version || answer.version === before) toast(empty);
    return;
  }
  await changes(before);
  toast(`${done}: ${pictures(answer.images.length)}`);
  emit("undone", answer.images);
}

export const undo = () => back("/api/undo", "There is nothing to undo.", "Undone");
export const redo = () => back("/api/redo", "There is nothing to redo.", "Done again");
