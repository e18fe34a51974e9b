// Keys and buttons that questions have in common: label, and clean's three queues.

import { fill, h, key } from "./dom.js";

// answers shows what can be answered as buttons with their keys: [{ text, keys, show, kind, run }].
export function answers(list) {
  return h(
    "div.answers",
    list.map((a) =>
      h(
        `button${a.kind ? `.${a.kind}` : ""}`,
        {
          type: "button",
          onclick: a.run,
          title: a.title || "",
          dataset: { answer: a.name || a.text },
        },
        a.text,
        " ",
        key(a.show || a.keys[0]),
      ),
    ),
  );
}

// asBindings makes keys of answers.
export const asBindings = (list) =>
  list.map(({ keys, show, text, title, run }) => ({
    keys,
    show,
    text: (title || text).toLowerCase(),
    run: () => run(),
  }));

// strip shows small pictures in a row; the current one is marked.
export function strip(element, images, current, { onPick, source, caption }) {
  fill(
    element,
    images.map((image) =>
      h(
        `button.small-picture${image === current ? ".current" : ""}`,
        {
          type: "button",
          onclick: () => onPick(image),
          "aria-label": `Picture ${image}`,
          "aria-current": image === current,
        },
        h("img", { src: source(image), alt: "", decoding: "async" }),
        caption ? h("span", caption(image)) : null,
      ),
    ),
  );
}
