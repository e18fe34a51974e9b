// The classes: their keys, colours and counts, and the field that adds one.

import { addClass, label, renameClass } from "./actions.js";
import { category } from "./colours.js";
import { fill, h, key } from "./dom.js";
import { count } from "./format.js";
import { on, store } from "./store.js";

export const keyOf = (place) => (place < 9 ? String(place + 1) : place === 9 ? "0" : "");
export const classOfKey = (pressed) => store.names[pressed === "0" ? 9 : Number(pressed) - 1] || "";

// makeClassField is where a class is typed. Enter labels what is chosen, or only adds the class;
// then back() has the focus.
export function makeClassField({ targets, onDone, placeholder, back = () => input.blur() }) {
  const known = h("datalist", { id: `classes${Math.random().toString(36).slice(2, 8)}` });
  const input = h("input", {
    type: "text",
    placeholder,
    autocomplete: "off",
    spellcheck: false,
    maxLength: 200,
    "aria-label": "Name of a class",
  });
  input.setAttribute("list", known.id);
  const form = h("form.classfield", { onsubmit: submit }, input, known);
  function submit(event) {
    event.preventDefault();
    const typed = input.value.trim();
    if (!typed) return;
    input.value = "";
    const name = store.names.find((known) => known.toLowerCase() === typed.toLowerCase()) || typed;
    const images = targets();
    if (images.length) label(images, name);
    else addClass(name);
    back();
    if (onDone) onDone(images, name);
  }
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape") back();
  });
  const refresh = () =>
    fill(
      known,
      store.names.map((name) => h("option", { value: name })),
    );
  on("state", refresh);
  return { element: form, input };
}

// makeClassList shows each class with its key; a click labels what is chosen, or shows the class's
// pictures.
export function makeClassList({ targets, onLabel, onShow }) {
  const list = h("ul.classes", { "aria-label": "Classes" });
  const row = (name, place) => {
    const number = (store.state.classes.find((c) => c.name === name) || { count: 0 }).count;
    const swatch = h("i.swatch", { style: { background: category(place) } });
    const hint = `Label what is selected ${name}. With nothing selected: show the pictures labelled ${name}.`;
    return h(
      "li",
      h(
        "button.class",
        { type: "button", title: hint, dataset: { class: name }, onclick: () => choose(name) },
        keyOf(place) ? key(keyOf(place)) : h("kbd.none", "c"),
        swatch,
        h("span.name", name),
      ),
      h(
        "button.count",
        { type: "button", title: `Show the pictures labelled ${name}`, onclick: () => onShow(name) },
        count(number),
      ),
      h(
        "button.rename",
        {
          type: "button",
          title: `Rename ${name}`,
          "aria-label": `Rename ${name}`,
          onclick: (event) => rename(event.target.closest("li"), name),
        },
        "…",
      ),
    );
  };
  function choose(name) {
    const images = targets();
    if (!images.length) return onShow(name);
    label(images, name);
    return onLabel && onLabel(images, name);
  }
  function rename(item, name) {
    const input = h("input", { type: "text", value: name, "aria-label": `New name of ${name}`, maxLength: 200 });
    const form = h(
      "form.classfield",
      {
        onsubmit: (event) => {
          event.preventDefault();
          const to = input.value.trim();
          if (to && to !== name) renameClass(name, to);
          else refresh();
        },
      },
      input,
    );
    input.addEventListener("blur", refresh);
    fill(item, form);
    input.select();
  }
  function refresh() {
    fill(
      list,
      store.names
        .filter((name) => store.state.classes.some((c) => c.name === name))
        .map((name) => row(name, store.names.indexOf(name))),
    );
    list.hidden = !list.children.length;
  }
  on("state", refresh);
  refresh();
  return { element: list };
}
