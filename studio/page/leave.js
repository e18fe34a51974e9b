// Export: labels, predictions and decisions as files, and what to do with them.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { count, percent } from "./format.js";
import { on, store } from "./store.js";

export function makeLeave() {
  const page = { title: "Export", name: "export", targets: () => [], afterLabel() {} };
  page.element = h("div.leaving");

  const file = (name, text) => h("a.button", { href: `/api/export/${name}`, download: name }, text);
  const card = (title, text, ...more) => h("section.card", h("h2", title), h("p", text), ...more);

  function links(kind) {
    const said = h("p.note");
    const button = h("button", { type: "button", onclick: make }, "Folders of links");
    async function make() {
      button.disabled = true;
      try {
        const { folder } = await api.post("/api/export/links", { kind });
        said.textContent = `A folder for each class, with links to the pictures: ${folder}`;
      } catch (error) {
        said.textContent = error.message;
      }
      button.disabled = false;
    }
    return [button, said];
  }

  function show() {
    if (page.element.hidden) return;
    const { labelled, count: n, labels_file: name } = store.state;
    const c = store.classifier;
    const decided = store.decision.filter(Boolean).length;
    const dropped = store.decision.filter((d) => d === "drop").length;
    const [labelLinks, labelSaid] = links("labels");
    const [guessLinks, guessSaid] = links("predictions");
    fill(
      page.element,
      h(
        "header",
        h("h1", "Take it with you"),
        h(
          "p.lead",
          "Your labels are in ",
          h("b", name || "the labels file"),
          " already: it is written at every label. ",
          "These are copies in the form that you need.",
        ),
      ),
      h(
        "div.cards",
        card(
          "Labels",
          labelled ? `${count(labelled)} that you gave or accepted.` : "There are none yet.",
          h("div.buttons", file("labels.csv", "CSV"), file("labels.parquet", "Parquet"), labelLinks),
          labelSaid,
        ),
        card(
          "Predictions",
          predictionText(c, n - labelled),
          c && c.ready
            ? h("div.buttons", file("predictions.csv", "CSV"), file("predictions.parquet", "Parquet"), guessLinks)
            : h("a.button", { href: "#label" }, "Label some"),
          guessSaid,
        ),
        card(
          "Decisions",
          decided
            ? `${count(decided)} decided, ${count(dropped)} to drop. Nothing was moved or deleted.`
            : "There are none yet. They are made under Clean.",
          h(
            "div.buttons",
            file("decisions.csv", "CSV"),
            file("drop.txt", "drop.txt"),
            file("keep.txt", "keep.txt"),
          ),
          h("p.note", "drop.txt and keep.txt have one path a line, for scripts."),
        ),
        card(
          "Pairs for training",
          "Pictures of one class, as pairs that belong together, for a run that learns from them.",
          h("div.buttons", file("pairs.csv", "pairs.csv")),
        ),
      ),
    );
  }

  function predictionText(c, rest) {
    if (!c || !c.ready) return "A guess for each picture without a label. The classifier needs some labels first.";
    return (
      `A guess for each of the other ${count(rest)}: about ${percent(c.accuracy)} of them will be right ` +
      `(${percent(c.low)} to ${percent(c.high)}).`
    );
  }

  on("state", show);
  on("classifier", show);
  page.show = show;
  page.hide = () => {};
  return page;
}
