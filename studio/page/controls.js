// Small controls that pages share.

import { h } from "./dom.js";

// icon is a small button that says what it does to those who cannot see its sign.
export const icon = (sign, said, run) =>
  h("button.icon", { type: "button", title: said, "aria-label": said, onclick: run }, sign);

// select is a menu of choices: [{ name, title }].
export function select(label, choices, run) {
  const options = choices.map((c) => h("option", { value: c.name }, c.title));
  const element = h("select", { "aria-label": label, onchange: () => run(element.value) }, options);
  return element;
}

// segmented is a choice of a few, one of which holds: { value: text }. The first holds at first.
export function segmented(label, choices, run) {
  const buttons = Object.entries(choices).map(([value, text], i) =>
    h(
      "button",
      { type: "button", "aria-pressed": String(i === 0), onclick: () => set(value), dataset: { value } },
      text,
    ),
  );
  function set(value) {
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.value === value));
    run(value);
  }
  function next() {
    const at = buttons.findIndex((b) => b.getAttribute("aria-pressed") === "true");
    set(buttons[(at + 1) % buttons.length].dataset.value);
  }
  return { element: h("div.segmented", { role: "group", "aria-label": label }, buttons), set, next };
}
