// The keyboard: every page binds its keys here, and "?" shows what is bound.

import { h } from "./dom.js";

const scopes = []; // the newest last; it is asked first

// bind adds keys under a title: [{ keys: ["mod+z"], show: "Ctrl Z", text: "undo", run }]. It
// returns what removes them. A binding with match instead of keys takes every key that it matches,
// and lets the key through to what it focused.
export function bind(title, bindings) {
  const scope = { title, bindings };
  scopes.push(scope);
  return () => scopes.splice(scopes.indexOf(scope), 1);
}

// combination names what was pressed: "mod+shift+z", "ArrowLeft", "?".
export function combination(event) {
  const mod = event.ctrlKey || event.metaKey ? "mod+" : "";
  const letter = event.key.length === 1;
  const shift = event.shiftKey && (!letter || /[a-z]/i.test(event.key)) ? "shift+" : "";
  const alt = event.altKey ? "alt+" : "";
  return mod + alt + shift + (letter ? event.key.toLowerCase() : event.key);
}

const isTyping = (target) => target.closest("input:not([type=checkbox]):not([type=range]), textarea, select");

function pressed(event) {
  if (event.defaultPrevented || event.isComposing) return;
  if (isTyping(event.target) || document.querySelector("dialog[open]")) return;
  const name = combination(event);
  const activates = (name === "Enter" || name === " ") && event.target.closest("button, a, summary");
  if (activates) return;
  for (const scope of [...scopes].reverse()) {
    const found = scope.bindings.find((b) => (b.match ? b.match(name) : b.keys.includes(name)));
    if (found && found.run(event, name) !== false) {
      if (!found.match) event.preventDefault();
      return;
    }
  }
}

export function listen() {
  document.addEventListener("keydown", pressed);
}

// help shows all keys that do something here.
export function help() {
  if (document.querySelector("dialog[open]")) return;
  const rows = (scope) =>
    scope.bindings
      .filter((b) => b.text)
      .map((b) =>
        h(
          "div",
          h(
            "dt",
            (b.show || b.keys[0]).split(" ").map((k) => h("kbd", k)),
          ),
          h("dd", b.text),
        ),
      );
  const dialog = h(
    "dialog.help",
    { "aria-label": "Keys" },
    h("header", h("h2", "Keys"), h("button.small", { type: "button", onclick: () => dialog.close() }, "Close")),
    h(
      "div.columns",
      [...scopes]
        .reverse()
        .filter((s) => s.bindings.some((b) => b.text))
        .map((s) => h("section", h("h3", s.title), h("dl", rows(s)))),
    ),
  );
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
