// Groups of near-duplicates: which copy is kept, and why that one.

import * as api from "./api.js";
import { decide } from "./actions.js";
import { h, key } from "./dom.js";
import { bytes, percent, tail } from "./format.js";
import { answers } from "./queue.js";
import { nameOf, store } from "./store.js";
import { view } from "./viewer.js";

const shown = 24; // pictures of a group on the screen
const few = 3; // more than these are shown smaller

export function makeDuplicates() {
  const facts = new Map(); // picture -> what the server knows of it
  const queue = {
    title: "Duplicates",
    work: "duplicates",
    items: [],
    at: 0,
    about: "Comparing all pictures with one another.",
    nothing: "No duplicates",
    why: "No two pictures are so much alike that they could be copies.",
    decided: (group) => group.images.every((i) => store.decision[i]),
    async load() {
      queue.items = (await api.get("/api/clean/duplicates")).groups || [];
    },
  };

  const others = (group) => group.images.filter((i) => i !== group.best);

  // keepOne keeps one picture of a group and drops the rest.
  async function keepOne(group, best) {
    const rest = group.images.filter((i) => i !== best);
    decide([best], "keep");
    await decide(rest, "drop");
  }

  queue.answers = (group, onwards) => [
    {
      text: "Keep the best, drop the others",
      keys: ["Enter", "k"],
      show: "Enter",
      kind: "primary",
      name: "keep-best",
      run: () => {
        keepOne(group, group.best);
        onwards();
      },
    },
    {
      text: "Keep all",
      keys: ["o"],
      name: "keep-all",
      title: "Keep all: they are not copies",
      run: () => {
        decide(group.images, "ok");
        onwards();
      },
    },
    ...group.images.slice(0, 9).map((image, i) => ({
      text: `Keep only picture ${i + 1}`,
      keys: [String(i + 1)],
      hidden: true,
      run: () => {
        keepOne(group, image);
        onwards();
      },
    })),
    { text: "Undecided", keys: ["u"], name: "undecided", run: () => decide(group.images, "") },
  ];

  function describe(figure, image) {
    const write = (known) => {
      figure.textContent = [known.width && `${known.width} × ${known.height}`, known.bytes && bytes(known.bytes)]
        .filter(Boolean)
        .join(", ");
    };
    if (facts.has(image)) return write(facts.get(image));
    return api
      .get(`/api/picture/${image}`)
      .then((known) => {
        facts.set(image, known);
        write(known);
      })
      .catch(() => {});
  }

  queue.draw = (group, list, place) => {
    const card = (image, i) => {
      const best = image === group.best;
      const fact = h("span.note");
      describe(fact, image);
      const decision = store.decision[image];
      return h(
        `figure.copy${best ? ".best" : ""}`,
        { dataset: { decision: decision || "", image } },
        h(
          "button.picture",
          { type: "button", title: "Open", onclick: () => view(group.images, image) },
          h("img", { src: api.thumb(image, 256), alt: nameOf(image) }),
        ),
        h(
          "figcaption",
          h(
            "b",
            i < 9 ? key(i + 1) : null,
            " ",
            best ? h("span.tag", "best") : null,
            decision ? h(`span.tag.${decision}`, decision) : null,
          ),
          h("span.file", { title: nameOf(image) }, tail(nameOf(image)) || `picture ${image}`),
          fact,
          best && group.why ? h("span.why", group.why) : null,
        ),
      );
    };
    const ordered = [group.best, ...others(group)];
    return h(
      "div.question",
      h("header", h("h2", `Are these ${group.images.length} the same picture?`), place),
      h("p.note", `The least alike of them agree to ${percent(group.weakest, 1)}.`),
      h(
        `div.copies${ordered.length > few ? ".many" : ""}`,
        ordered.slice(0, shown).map((image) => card(image, group.images.indexOf(image))),
      ),
      ordered.length > shown ? h("p.note", `and ${ordered.length - shown} more`) : null,
      answers(list.filter((a) => !a.hidden)),
      h("p.note", "A number keeps only that picture."),
    );
  };
  return queue;
}
