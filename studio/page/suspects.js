// Outliers (pictures far from all others) and doubtful labels (pictures whose neighbours are of
// another class).

import * as api from "./api.js";
import { decide, label } from "./actions.js";
import { category } from "./colours.js";
import { fill, h } from "./dom.js";
import { percent, tail } from "./format.js";
import { answers } from "./queue.js";
import { labelOf, nameOf, store } from "./store.js";
import { view } from "./viewer.js";

const near = 6; // neighbours that are shown beside a picture

const neighbours = new Map(); // picture -> the most alike

// showNear fills a place with the pictures that are most like one.
async function showNear(place, image) {
  const draw = (images) =>
    fill(
      place,
      images.map((i) =>
        h(
          "figure",
          h(
            "button.picture",
            { type: "button", title: nameOf(i), onclick: () => view(images, i) },
            h("img", { src: api.thumb(i, 128), alt: nameOf(i) }),
          ),
          h("figcaption.note", labelOf(i) || tail(nameOf(i)) || " "),
        ),
      ),
    );
  if (neighbours.has(image)) return draw(neighbours.get(image));
  try {
    const { images } = await api.post("/api/search", { like: [image], unlike: [], text: "", limit: near + 1 });
    neighbours.set(image, images.filter((i) => i !== image).slice(0, near));
    return draw(neighbours.get(image));
  } catch (error) {
    return fill(place, h("p.note", error.message));
  }
}

function drawOne(item, list, place, title, ...more) {
  const alike = h("div.near");
  showNear(alike, item.image);
  const decision = store.decision[item.image];
  return h(
    "div.question",
    h("header", h("h2", title), place),
    h(
      "div.beside",
      h(
        "figure.one",
        { dataset: { decision: decision || "", image: item.image } },
        h(
          "button.picture",
          { type: "button", title: "Open", onclick: () => view([item.image], item.image) },
          h("img", { src: api.picture(item.image), alt: nameOf(item.image) }),
        ),
        h(
          "figcaption",
          h("span.file", tail(nameOf(item.image)) || `picture ${item.image}`),
          " ",
          decision ? h(`span.tag.${decision}`, decision) : null,
        ),
      ),
      h("div", more, h("h3", "Most alike"), alike),
    ),
    answers(list),
  );
}

export function makeOutliers() {
  const queue = {
    title: "Outliers",
    work: "outliers",
    items: [],
    at: 0,
    about: "Looking for pictures that are unlike all others.",
    nothing: "No outliers",
    why: "No picture stands apart from the others.",
    decided: (item) => Boolean(store.decision[item.image]),
    target: (item) => [item.image],
    async load() {
      const { images, scores } = await api.get("/api/clean/outliers");
      queue.items = images.map((image, i) => ({ image, score: scores[i] }));
    },
  };
  queue.answers = ({ image }, onwards) => [
    {
      text: "It belongs here",
      keys: ["Enter", "o"],
      show: "Enter",
      kind: "primary",
      name: "ok",
      run: () => {
        decide([image], "ok");
        onwards();
      },
    },
    {
      text: "Drop it",
      keys: ["d"],
      name: "drop",
      run: () => {
        decide([image], "drop");
        onwards();
      },
    },
    { text: "Undecided", keys: ["u"], name: "undecided", run: () => decide([image], "") },
  ];
  queue.draw = (item, list, place) =>
    drawOne(
      item,
      list,
      place,
      "Does this belong here?",
      h("p", "It is unlike the others", h("span.note", ` (score ${item.score.toPrecision(2)})`)),
    );
  return queue;
}

export function makeDoubtful() {
  const queue = {
    title: "Doubtful labels",
    work: "doubtful",
    items: [],
    at: 0,
    about: "Asking each picture's neighbours about its label.",
    nothing: "No doubtful labels",
    why: "Where there are labels, the neighbours agree with them. Label more, and look again.",
    decided: ({ image, label: given }) => Boolean(store.decision[image]) || !["", given].includes(labelOf(image)),
    target: (item) => [item.image],
    async load() {
      const { images, labels, suggested, scores } = await api.get("/api/clean/doubtful");
      queue.items = images.map((image, i) => ({
        image,
        label: labels[i],
        suggested: suggested[i],
        score: scores[i],
      }));
    },
  };
  queue.answers = ({ image, suggested, label: given }, onwards) => [
    {
      text: `It is ${suggested}`,
      keys: ["Enter", "y"],
      show: "Enter",
      kind: "primary",
      name: "relabel",
      run: () => {
        label([image], suggested, true);
        onwards();
      },
    },
    {
      text: `It is ${given}`,
      keys: ["o"],
      name: "ok",
      run: () => {
        decide([image], "ok");
        onwards();
      },
    },
    {
      text: "Drop it",
      keys: ["d"],
      name: "drop",
      run: () => {
        decide([image], "drop");
        onwards();
      },
    },
  ];
  const chip = (name) =>
    h(
      "span.chip",
      h("i.swatch", {
        style: { background: category(Math.max(0, store.names.indexOf(name))) },
      }),
      name,
    );
  queue.draw = (item, list, place) =>
    drawOne(
      item,
      list,
      place,
      `Is this ${item.label}?`,
      h(
        "p",
        "Labelled ",
        chip(labelOf(item.image) || item.label),
        " but looks like ",
        chip(item.suggested),
        h("span.note", ` ${percent(item.score)}`),
      ),
      h("p.note", "A number gives it any other class."),
    );
  return queue;
}
