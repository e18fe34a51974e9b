// What the classifier has learned from the labels so far: how right it will be, where it errs, what
// it is sure of.

import { category } from "./colours.js";
import { fill, h } from "./dom.js";
import { count, percent } from "./format.js";
import { hasFeatures, on, store } from "./store.js";

// makeClassifier shows the expected accuracy with its interval, the classes' own, and the
// confusion.
export function makeClassifier() {
  const element = h("section.panel.classifier", { "aria-label": "Classifier" });
  let open = false; // whether the confusion is shown; the panel is made anew at each label
  function refresh() {
    const c = store.classifier;
    if (!hasFeatures()) {
      return fill(
        element,
        h("h2", "Classifier"),
        h(
          "p.note",
          encoding() ? "It starts when the features of all pictures are there." : "It needs a model: see Explore.",
        ),
      );
    }
    if (!c || !c.ready) return fill(element, h("h2", "Classifier"), h("p.note", waiting(c)));
    const details = h("details", { open }, h("summary", "Where it errs"), confusion(c));
    details.addEventListener("toggle", () => {
      open = details.open;
    });
    return fill(element, h("h2", "Classifier"), expected(c), perClass(c), details);
  }
  on("classifier", refresh);
  on("state", () => {
    if (!store.classifier || !store.classifier.ready) refresh();
  });
  on("work", refresh);
  refresh();
  return { element };
}

const encoding = () => store.state.work && store.state.work.encode && store.state.work.encode.state === "running";

function waiting(c) {
  if (c && c.reason) return sentence(c.reason);
  return "It starts to guess as soon as two classes have a few pictures each.";
}

export const sentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function expected(c) {
  const range = `${percent(c.low)} and ${percent(c.high)}`;
  const place = (share) => `${(100 * share).toFixed(1)}%`;
  return h(
    "div.expected",
    h(
      "p",
      h("b.big", { dataset: { accuracy: c.accuracy } }, percent(c.accuracy)),
      h("span", " of the rest will be right"),
    ),
    h(
      "div.interval",
      { role: "img", "aria-label": `between ${range}` },
      h("i.range", { style: { left: place(c.low), width: place(c.high - c.low) } }),
      h("i.at", { style: { left: place(c.accuracy) } }),
    ),
    h(
      "p.note",
      c.enough
        ? `Between ${range}, ${
            c.random
              ? `judged by ${count(c.random)} pictures drawn at random`
              : "judged by labels that it had not seen"
          }.`
        : `Between ${range}: still too few labels to be sure of that.`,
    ),
  );
}

function perClass(c) {
  return h(
    "ul.bars",
    { "aria-label": "Accuracy of each class" },
    c.per_class.map((p) =>
      h(
        "li",
        { title: `${p.name}: ${percent(p.low)} to ${percent(p.high)}, from ${p.labelled} labelled` },
        h("span.name", p.name),
        h(
          "span.bar",
          h("i", {
            style: {
              width: percent(p.accuracy, 1),
              background: category(Math.max(0, store.names.indexOf(p.name))),
            },
          }),
        ),
        h("span.value", percent(p.accuracy)),
      ),
    ),
  );
}

// confusion: a row for each class as a person labelled it, a column for each as predicted.
function confusion(c) {
  const short = (name) => (name.length > 4 ? `${name.slice(0, 3)}…` : name);
  const cell = (row, i) => (value, j) => {
    const sum = row.reduce((a, b) => a + b, 0) || 1;
    const share = value / sum;
    const said =
      i === j
        ? `${c.classes[i]} seen as it is: ${count(value)}`
        : `${c.classes[i]} taken for ${c.classes[j]}: ${count(value)}`;
    return h(
      `td.${i === j ? "hit" : "miss"}`,
      { title: said },
      h("i", { style: { opacity: String(Math.min(1, share * (i === j ? 1 : 2.5))) } }),
      h("span", value ? String(value) : ""),
    );
  };
  return h(
    "div.confusion",
    h(
      "table",
      h(
        "thead",
        h(
          "tr",
          h("td"),
          c.classes.map((name) => h("th", { scope: "col", title: name }, short(name))),
        ),
      ),
      h(
        "tbody",
        c.confusion.map((row, i) =>
          h("tr", h("th", { scope: "row", title: c.classes[i] }, c.classes[i]), row.map(cell(row, i))),
        ),
      ),
    ),
    h("p.note", "Rows: what you said. Columns: what it said."),
  );
}

// sure lists pictures without a label that are predicted as a class with at least this confidence,
// surest first.
export function sure(place, least) {
  const found = [];
  if (!store.prediction || !store.confidence) return found;
  for (let i = 0; i < store.label.length; i++) {
    if (store.label[i] < 0 && store.prediction[i] === place && store.confidence[i] >= least) found.push(i);
  }
  return found.sort((a, b) => store.confidence[b] - store.confidence[a]);
}

const steps = [0.5, 0.7, 0.8, 0.9, 0.95, 0.99];

// makeBulk offers to accept, class by class, what the classifier is sure of.
export function makeBulk({ onReview }) {
  let least = 0.9;
  const body = h("ul.sure");
  const choice = h(
    "select",
    {
      "aria-label": "How sure at least",
      onchange: () => {
        least = Number(choice.value);
        refresh();
      },
    },
    steps.map((s) => h("option", { value: s, selected: s === least }, percent(s))),
  );
  const element = h(
    "section.panel.bulk",
    { hidden: true },
    h("h2", "Accept in bulk"),
    h("p.note", "Predictions that are at least ", choice, " sure"),
    body,
  );
  function counts() {
    const found = new Array(store.names.length).fill(0);
    for (let i = 0; i < store.label.length; i++) {
      if (store.label[i] < 0 && store.prediction[i] >= 0 && store.confidence[i] >= least)
        found[store.prediction[i]]++;
    }
    return found;
  }
  function refresh() {
    const ready = store.classifier && store.classifier.ready && store.prediction && store.confidence;
    element.hidden = !ready;
    if (!ready) return;
    const found = counts();
    fill(
      body,
      found.map(
        (n, place) =>
          n > 0 &&
          h(
            "li",
            h("i.swatch", { style: { background: category(place) } }),
            h("span.name", store.names[place]),
            h(
              "button.small",
              { type: "button", dataset: { review: store.names[place] }, onclick: () => onReview(place, least) },
              `Look at ${count(n)}`,
            ),
          ),
      ),
    );
    if (!body.children.length) body.append(h("li.note", "None yet. Lower the number, or label some more."));
  }
  on("classifier", refresh);
  refresh();
  return { element };
}
