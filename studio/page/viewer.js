// One picture, large, with what is known of it.

import * as api from "./api.js";
import { fill, h, key } from "./dom.js";
import { bytes, percent } from "./format.js";
import { combination } from "./keys.js";
import { label } from "./actions.js";
import { classOfKey } from "./classes.js";
import { labelOf } from "./store.js";

// view opens a picture of a list; the arrows go on to its neighbours. onMore(image), onLess(image)
// search by it.
export function view(list, image, { onMore, onLess } = {}) {
  let place = Math.max(0, list.indexOf(image));
  const img = h("img", { alt: "" });
  const facts = h("div.facts");
  const dialog = h("dialog.viewer", { "aria-label": "Picture" }, h("div.large", img), facts);
  const close = () => dialog.close();

  async function show() {
    const now = list[place];
    img.src = api.picture(now);
    let known;
    try {
      known = await api.get(`/api/picture/${now}`);
    } catch (error) {
      fill(facts, h("p.note", error.message));
      return;
    }
    if (now !== list[place]) return;
    img.alt = known.name;
    const row = (title, value) => value && [h("dt", title), h("dd", value)];
    fill(
      facts,
      h("h2", known.name),
      h(
        "dl",
        row("Label", labelOf(now) || "none"),
        row("Looks like", known.prediction && `${known.prediction}, ${percent(known.confidence)} sure`),
        row("or", known.second),
        row("Folder", known.truth),
        row("Cluster", known.cluster >= 0 && String(known.cluster + 1)),
        row("Decision", known.decision),
        row("Size", known.width && `${known.width} × ${known.height}`),
        row("File", known.bytes && bytes(known.bytes)),
      ),
      h(
        "div.buttons",
        onMore &&
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                close();
                onMore(now);
              },
            },
            "More like this ",
            key("m"),
          ),
        onLess &&
          h(
            "button",
            {
              type: "button",
              onclick: () => {
                close();
                onLess(now);
              },
            },
            "Less like this ",
            key("l"),
          ),
      ),
      h("p.note", key("←"), " ", key("→"), " the next ones, ", key("1"), " … labels, ", key("Esc"), " closes"),
      h("button", { type: "button", onclick: close }, "Close"),
    );
  }

  dialog.addEventListener("keydown", (event) => {
    const name = combination(event);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[name];
    if (step) {
      place = Math.min(list.length - 1, Math.max(0, place + step));
      show();
    } else if (/^[0-9]$/.test(name) && classOfKey(name)) {
      label([list[place]], classOfKey(name));
      show();
    } else if (name === "m" && onMore) {
      close();
      onMore(list[place]);
    } else if (name === "l" && onLess) {
      close();
      onLess(list[place]);
    } else if (name === "Enter" && event.target.tagName !== "BUTTON") close();
    else return;
    event.preventDefault();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) close();
  });
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  show();
}
