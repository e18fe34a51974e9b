// Short messages at the lower edge. They say what happened, and offer to take it back.

import { $, h } from "./dom.js";

const stay = 6000; // milliseconds

export function toast(text, { kind = "", action = "", run = null } = {}) {
  const box = $("#toasts");
  const close = () => element.remove();
  const button = action
    ? h(
        "button.small",
        {
          type: "button",
          onclick: () => {
            close();
            run();
          },
        },
        action,
      )
    : null;
  const element = h(`div.toast${kind ? `.${kind}` : ""}`, h("span", text), button);
  while (box.children.length > 2) box.firstChild.remove();
  box.append(element);
  setTimeout(close, kind === "bad" ? 2 * stay : stay);
}
