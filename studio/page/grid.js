// A grid of pictures that scrolls through any number of them: only tiles near the window exist.

import * as api from "./api.js";
import { category } from "./colours.js";
import { h } from "./dom.js";
import { combination } from "./keys.js";
import { labelOf, nameOf, on, predictionOf, store } from "./store.js";
import { percent, tail } from "./format.js";

const gap = 8;
const caption = 22;
const settle = 90; // milliseconds without scrolling after which pictures are asked for
const fast = 3; // screens between two frames' scrolls: faster than this nobody sees pictures anyway

// makeGrid shows a list of pictures. Its selection is a Set of picture numbers.
export function makeGrid({ label, onSelect, onOpen, onActive, size = 112 }) {
  const spacer = h("div.spacer");
  const element = h(
    "div.grid",
    {
      tabIndex: 0,
      role: "listbox",
      "aria-multiselectable": "true",
      "aria-label": label,
    },
    spacer,
  );
  const grid = { element, list: [], selected: new Set(), active: 0, size, columns: 1 };
  const tiles = new Map(); // place in the list -> tile
  const spare = [];
  let [anchor, queued, lastTop, timer, rushing] = [0, 0, 0, 0, false];

  const rowHeight = () => grid.size + caption + gap;

  function layout() {
    const width = element.clientWidth - gap;
    grid.columns = Math.max(1, Math.floor(width / (grid.size + gap)));
    const rows = Math.ceil(grid.list.length / grid.columns);
    spacer.style.height = `${rows * rowHeight() + gap}px`;
    for (const place of [...tiles.keys()]) release(place);
    render();
  }

  function release(place) {
    const tile = tiles.get(place);
    tiles.delete(place);
    tile.element.hidden = true;
    tile.element.removeAttribute("id");
    tile.image = -1;
    tile.img.removeAttribute("src");
    spare.push(tile);
  }

  function render() {
    // Before the styles are there, the grid is as tall as its content.
    const height = Math.min(element.clientHeight, window.innerHeight);
    const above = height / 2;
    const first = Math.max(0, Math.floor((element.scrollTop - above) / rowHeight())) * grid.columns;
    const rows = Math.ceil((height + 2 * above) / rowHeight()) + 1;
    const end = Math.min(grid.list.length, first + rows * grid.columns);
    for (const place of [...tiles.keys()]) if (place < first || place >= end) release(place);
    for (let place = first; place < end; place++) if (!tiles.has(place)) put(place);
  }

  function put(place) {
    const tile = spare.pop() || makeTile();
    tiles.set(place, tile);
    tile.place = place;
    const width = element.clientWidth - gap;
    const stride = Math.max(grid.size + gap, width / grid.columns);
    const x = gap + (place % grid.columns) * stride;
    const y = gap + Math.floor(place / grid.columns) * rowHeight();
    Object.assign(tile.element.style, {
      transform: `translate(${x}px, ${y}px)`,
      width: `${stride - gap}px`,
      height: `${grid.size + caption}px`,
    });
    tile.element.id = `${grid.id}-${place}`;
    tile.element.dataset.image = grid.list[place];
    tile.element.hidden = false;
    tile.element.setAttribute("aria-posinset", place + 1);
    tile.element.setAttribute("aria-setsize", grid.list.length);
    paintTile(tile);
    if (!rushing) load(tile);
  }

  function load(tile) {
    const image = grid.list[tile.place];
    if (tile.image === image) return;
    tile.image = image;
    tile.element.classList.remove("broken");
    tile.img.src = api.thumb(image, grid.size);
  }

  function makeTile() {
    const img = h("img", { alt: "", decoding: "async", draggable: false });
    const mark = h("i.mark");
    const text = h("span.text");
    const badge = h("span.badge");
    const box = h("div.tile", { role: "option" }, h("div.frame", img, badge), h("div.caption", mark, text));
    const tile = { element: box, img, mark, text, badge, place: 0, image: -1 };
    img.addEventListener("error", () => box.classList.toggle("broken", img.hasAttribute("src")));
    box.addEventListener("click", (event) => click(tile, event));
    box.addEventListener("dblclick", () => onOpen && onOpen(grid.list[tile.place]));
    spacer.append(box);
    return tile;
  }

  function paintTile(tile) {
    const image = grid.list[tile.place];
    const given = labelOf(image);
    const guess = predictionOf(image);
    const name = tail(nameOf(image));
    const selected = grid.selected.has(image);
    const { classList, style } = tile.element;
    classList.toggle("selected", selected);
    classList.toggle("active", tile.place === grid.active);
    classList.toggle("guess", !given && guess !== "");
    classList.toggle("rejected", grid.review === true && !selected);
    const at = given ? store.label[image] : guess ? store.prediction[image] : -1;
    tile.mark.hidden = at < 0;
    if (at >= 0) style.setProperty("--class", category(at));
    const sure = !given && guess && store.confidence ? ` ${percent(store.confidence[image])}` : "";
    tile.text.textContent = given || (guess ? guess + sure : name);
    tile.element.title = name;
    const decision = store.decision[image] || "";
    tile.badge.textContent = decision;
    tile.element.dataset.decision = decision;
    tile.element.setAttribute("aria-selected", String(selected));
    const said = given ? `labelled ${given}` : guess ? `looks like ${guess}` : "no label";
    tile.element.setAttribute(
      "aria-label",
      `${name || `picture ${image}`}, ${said}${decision ? `, ${decision}` : ""}`,
    );
  }

  function repaint() {
    for (const tile of tiles.values()) paintTile(tile);
    if (grid.list.length) element.setAttribute("aria-activedescendant", `${grid.id}-${grid.active}`);
    else element.removeAttribute("aria-activedescendant");
  }

  function changed() {
    repaint();
    if (onSelect) onSelect(grid.selected);
  }

  function click(tile, event) {
    const place = tile.place;
    if (event.shiftKey) spread(anchor, place);
    else {
      toggle(place);
      anchor = place;
    }
    activate(place, false);
    changed();
  }

  function toggle(place) {
    const image = grid.list[place];
    if (!grid.selected.delete(image)) grid.selected.add(image);
  }

  function spread(from, to) {
    for (let p = Math.min(from, to); p <= Math.max(from, to); p++) grid.selected.add(grid.list[p]);
  }

  function activate(place, scroll = true) {
    grid.active = Math.min(grid.list.length - 1, Math.max(0, place));
    if (scroll) reveal();
    if (onActive) onActive(grid.list[grid.active]);
    repaint();
  }

  function reveal() {
    const top = Math.floor(grid.active / grid.columns) * rowHeight();
    if (top < element.scrollTop) element.scrollTop = top;
    const bottom = top + rowHeight() + gap;
    if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
    render();
  }

  function move(event) {
    const page = Math.max(1, Math.floor(element.clientHeight / rowHeight())) * grid.columns;
    const step = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -grid.columns,
      ArrowDown: grid.columns,
      PageUp: -page,
      PageDown: page,
      Home: -grid.list.length,
      End: grid.list.length,
    }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return false;
    const before = grid.active;
    activate(before + step);
    if (event.shiftKey) {
      spread(before, grid.active);
      changed();
    } else anchor = grid.active;
    return true;
  }

  element.addEventListener("keydown", (event) => {
    if (!grid.list.length) return;
    const name = combination(event);
    let done = true;
    if (name === " ") {
      toggle(grid.active);
      anchor = grid.active;
      changed();
    } else if (name === "mod+a") grid.selectAll();
    else if (name === "Enter" && onOpen) onOpen(grid.list[grid.active]);
    else done = move(event);
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  });

  element.addEventListener(
    "scroll",
    () => {
      rushing = Math.abs(element.scrollTop - lastTop) > fast * element.clientHeight;
      lastTop = element.scrollTop;
      if (!queued)
        queued = requestAnimationFrame(() => {
          queued = 0;
          render();
        });
      clearTimeout(timer);
      timer = setTimeout(() => {
        rushing = false;
        render();
        for (const tile of tiles.values()) load(tile);
      }, settle);
    },
    { passive: true },
  );

  const observer = new ResizeObserver(layout);
  observer.observe(element);
  const ends = ["labels", "classifier", "names"].map((event) => on(event, repaint));

  Object.assign(grid, {
    id: `grid${Math.random().toString(36).slice(2, 8)}`,
    // show replaces the list. The selection stays where its pictures are still there.
    show(list, { selected = [], active = 0, review = false } = {}) {
      grid.list = list;
      grid.selected = new Set(selected);
      grid.review = review;
      grid.active = Math.max(0, Math.min(active, list.length - 1));
      anchor = grid.active;
      element.scrollTop = 0;
      layout();
      reveal();
      changed();
    },
    resize(value) {
      grid.size = value;
      layout();
      reveal();
    },
    selectAll() {
      grid.selected = new Set(grid.list);
      changed();
    },
    clear() {
      grid.selected = new Set();
      changed();
    },
    toggle(place = grid.active) {
      toggle(place);
      changed();
    },
    activate,
    targets: () =>
      grid.selected.size
        ? grid.list.filter((i) => grid.selected.has(i))
        : grid.list.length && document.activeElement === element
          ? [grid.list[grid.active]]
          : [],
    current: () => grid.list[grid.active],
    repaint,
    remove() {
      observer.disconnect();
      ends.forEach((end) => end());
    },
  });
  return grid;
}
