// Opens the page: reads the state, makes the pages, and goes to the one that the address names.

import { label, redo, undo } from "./actions.js";
import { classOfKey } from "./classes.js";
import { makeClean } from "./clean.js";
import { $, fill, h, state } from "./dom.js";
import { connect, follow } from "./events.js";
import { Explore } from "./explore.js";
import { count, pictures } from "./format.js";
import { bind, help, listen } from "./keys.js";
import { Label } from "./label.js";
import { makeLeave } from "./leave.js";
import { takePictures } from "./search.js";
import { load, on, store } from "./store.js";
import { toast } from "./toast.js";
import { makeWatch } from "./watch.js";

let pages = [];
let current = null;

function makePages() {
  const explore = new Explore();
  const review = (place, least) => {
    go("explore");
    explore.review(place, least);
  };
  const more = (image) => {
    go("explore");
    explore.search.more([image]);
  };
  pages = [explore, new Label({ onReview: review, onMore: more }), makeClean(), makeWatch(), makeLeave()];
  for (const page of pages) {
    page.element.hidden = true;
    page.element.classList.add("page");
  }
  fill(
    $("#page"),
    pages.map((page) => page.element),
  );
  takePictures((blob) => {
    go("explore");
    explore.search.byPicture(blob);
  });
  return explore;
}

function go(name) {
  const page = pages.find((p) => p.name === name) || pages[0];
  if (page === current) return;
  if (current) {
    current.hide();
    current.element.hidden = true;
  }
  current = page;
  page.element.hidden = false;
  document.title = `${page.title} · moco studio`;
  if (location.hash.slice(1) !== page.name) history.pushState(null, "", `#${page.name}`);
  page.show();
  showNav();
}

function showNav() {
  fill(
    $("#nav"),
    pages
      .filter((p) => !p.wanted || p.wanted())
      .map((page) =>
        h(
          "a",
          {
            href: `#${page.name}`,
            ...(page === current ? { "aria-current": "page" } : {}),
          },
          page.title,
        ),
      ),
  );
}

function showTools() {
  const { undo: back, redo: forth, labelled, count: n, name, unreadable } = store.state;
  fill(
    $("#set"),
    h("b", name),
    ` ${pictures(n)}`,
    unreadable ? h("span.bad", `, ${count(unreadable)} cannot be read`) : "",
  );
  fill(
    $("#tools"),
    h("span.labelled", { id: "labelled" }, `${count(labelled)} labelled`),
    h(
      "button.icon",
      { type: "button", onclick: undo, disabled: !back, title: "Undo (Ctrl Z)", "aria-label": "Undo" },
      "↶",
    ),
    h(
      "button.icon",
      { type: "button", onclick: redo, disabled: !forth, title: "Do again (Ctrl Shift Z)", "aria-label": "Redo" },
      "↷",
    ),
    h("button.icon", { type: "button", onclick: help, title: "Keys (?)", "aria-label": "Keys" }, "?"),
  );
}

// labelByKey gives what is chosen on the page the class of a number key.
function labelByKey(_, pressed) {
  const name = classOfKey(pressed);
  if (!name)
    return toast(
      store.names.length ? "No class has that key yet." : "There is no class yet: press c and type its name.",
    );
  if (current.give) return current.give(name);
  const images = current.targets();
  if (!images.length) return toast("Choose one or more pictures first.");
  label(images, name);
  return current.afterLabel(images);
}

function unlabel() {
  const images = current.targets();
  if (images.length) label(images, "");
}

function bindKeys() {
  const pageKey = (digit, page) => ({
    keys: [`alt+${digit}`],
    show: `Alt ${digit}`,
    text: page.title.toLowerCase(),
    run: () => go(page.name),
  });
  bind("Pages", [
    ...pages.filter((p) => !p.wanted || p.wanted()).map((page, i) => pageKey(i + 1, page)),
    { keys: ["g"], text: "label next", run: () => go("label") },
    { keys: ["?"], text: "these keys", run: help },
  ]);
  bind("Everywhere", [
    {
      keys: ["1", "2", "3", "4", "5", "6", "7", "8", "9", "0"],
      show: "1 … 0",
      text: "label with the class of that key",
      run: labelByKey,
    },
    { keys: ["c"], text: "type a class", run: () => (current.field ? current.field.input.focus() : false) },
    { keys: ["Backspace", "Delete"], show: "Backspace", text: "take the label away", run: unlabel },
    { keys: ["z", "mod+z"], show: "Ctrl Z", text: "undo, without limit", run: undo },
    { keys: ["shift+z", "mod+shift+z", "mod+y"], show: "Ctrl Shift Z", text: "do again", run: redo },
  ]);
}

async function open() {
  // The token is in a cookie now, and need not be seen.
  if (location.search) history.replaceState(null, "", location.pathname + location.hash);
  try {
    await load();
  } catch (error) {
    fill(
      $("#page"),
      state(
        error.status === 401 || error.status === 403 ? "This address has expired" : "The studio does not answer",
        error.status === 401 || error.status === 403
          ? "Open the address that moco studio printed in the terminal."
          : error.message,
        h("button", { type: "button", onclick: () => location.reload() }, "Try again"),
      ),
    );
    return;
  }
  if (!store.state.count) {
    fill(
      $("#page"),
      state("There are no pictures here", `Nothing in ${store.state.name} is a picture that the studio can read.`),
    );
    return;
  }
  const explore = makePages();
  on("state", () => {
    showTools();
  });
  showTools();
  listen();
  bindKeys();
  window.addEventListener("popstate", () => go(location.hash.slice(1)));
  window.addEventListener("hashchange", () => go(location.hash.slice(1)));
  go(location.hash.slice(1) || "explore");
  explore.start();
  connect();
  follow();
  document.documentElement.dataset.ready = "true";
}

open();
