// The server's events, and what is shown when it stops answering.

import * as api from "./api.js";
import { $, fill, h } from "./dom.js";
import { changes, emit, load, predictions, store } from "./store.js";

let asked = null; // the timer of the next look at the classifier
let asking = false;

// follow looks at the classifier soon; many labels in a row cost one look.
export function follow() {
  if (asked) return;
  asked = setTimeout(async () => {
    asked = null;
    if (asking) return follow();
    asking = true;
    try {
      await predictions();
    } catch {
      // Then pictures are asked about in their order.
      if (!store.classifier) store.classifier = { ready: false, next: [] };
      emit("classifier");
    }
    asking = false;
    return undefined;
  }, 120);
}

export function connect() {
  const source = new EventSource("/api/events");
  const data = (event) => JSON.parse(event.data);
  source.addEventListener("changed", async (event) => {
    if (data(event).version > store.state.version) await changes().catch(() => {});
  });
  source.addEventListener("classifier", follow);
  source.addEventListener("work", (event) => {
    const before = store.state.work || {};
    store.state.work = data(event);
    emit("work", before);
  });
  source.addEventListener("run", (event) => emit("run", data(event)));
  source.addEventListener("open", opened);
  source.addEventListener("error", () => {
    lost();
    // The browser has given up; the page has not.
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 3000);
  });
}

let away = false;

function lost() {
  away = true;
  const text =
    "The studio does not answer. Everything that you labelled is in its file. " +
    "Start it again with the same command, and open the address that it prints.";
  fill($("#banner"), h("span", text));
  $("#banner").hidden = false;
  emit("connection", false);
}

async function opened() {
  if (!away) return;
  away = false;
  $("#banner").hidden = true;
  const epoch = store.state.epoch;
  try {
    const state = await api.get("/api/state");
    if (state.epoch !== epoch) location.reload();
    else await load();
  } catch {
    lost();
  }
  emit("connection", true);
}
