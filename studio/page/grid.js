// A grid of pictures that scrolls through any number of them: only tiles near the window exist.

import { h } from "./dom.js";
import { combination } from "./keys.js";
import { on } from "./store.js";
import { Tile } from "./tile.js";

const gap = 8;
const caption = 22;
const settle = 90; // milliseconds without scrolling after which pictures are asked for
const fast = 3; // screens between two scrolls: nobody sees pictures at that speed
let grids = 0; // so that each grid's tiles have names of their own

const nothing = () => {};

// A Grid shows a list of pictures. Its selection is a Set of picture numbers.
export class Grid {
  constructor({ label, onSelect = nothing, onOpen = nothing, onActive = nothing, size = 112 }) {
    Object.assign(this, { onSelect, onOpen, onActive, size, list: [], selected: new Set(), review: false });
    Object.assign(this, { id: `grid${grids++}`, active: 0, anchor: 0, columns: 1 });
    this.tiles = new Map(); // place in the list -> tile
    this.spare = [];
    this.spacer = h("div.spacer");
    this.element = h(
      "div.grid",
      { tabIndex: 0, role: "listbox", "aria-multiselectable": "true", "aria-label": label },
      this.spacer,
    );
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("scroll", () => this.scrolled(), { passive: true });
    new ResizeObserver(() => this.layout()).observe(this.element);
    for (const event of ["labels", "classifier", "names"]) on(event, () => this.repaint());
  }

  // show replaces the list.
  show(list, { selected = [], active = 0, review = false } = {}) {
    Object.assign(this, { list, review, selected: new Set(selected) });
    this.active = Math.max(0, Math.min(active, list.length - 1));
    this.anchor = this.active;
    this.element.scrollTop = 0;
    this.layout();
    this.reveal();
    this.changed();
  }

  resize(size) {
    this.size = size;
    this.layout();
    this.reveal();
  }

  // What a key or a button acts upon: the selection, else the picture that the keyboard is at.
  targets() {
    if (this.selected.size) return this.list.filter((image) => this.selected.has(image));
    return this.list.length && document.activeElement === this.element ? [this.list[this.active]] : [];
  }

  selectAll() {
    this.selected = new Set(this.list);
    this.changed();
  }

  clear() {
    this.selected = new Set();
    this.changed();
  }

  toggle(place = this.active) {
    this.flip(place);
    this.changed();
  }

  // activate puts the keyboard at a place of the list.
  activate(place, scroll = true) {
    this.active = Math.min(this.list.length - 1, Math.max(0, place));
    if (scroll) this.reveal();
    this.onActive(this.list[this.active]);
    this.repaint();
  }

  repaint() {
    for (const tile of this.tiles.values()) this.paint(tile);
    if (this.list.length) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.active}`);
    else this.element.removeAttribute("aria-activedescendant");
  }

  // Which tiles there are.

  rowHeight() {
    return this.size + caption + gap;
  }

  layout() {
    this.columns = Math.max(1, Math.floor((this.element.clientWidth - gap) / (this.size + gap)));
    const rows = Math.ceil(this.list.length / this.columns);
    this.spacer.style.height = `${rows * this.rowHeight() + gap}px`;
    for (const place of [...this.tiles.keys()]) this.release(place);
    this.render();
  }

  render() {
    // Before the styles are there, the grid is as tall as its content.
    const height = Math.min(this.element.clientHeight, window.innerHeight);
    const top = this.element.scrollTop - height / 2;
    const first = Math.max(0, Math.floor(top / this.rowHeight())) * this.columns;
    const rows = Math.ceil((2 * height) / this.rowHeight()) + 1;
    const end = Math.min(this.list.length, first + rows * this.columns);
    for (const place of [...this.tiles.keys()]) if (place < first || place >= end) this.release(place);
    for (let place = first; place < end; place++) if (!this.tiles.has(place)) this.put(place);
  }

  put(place) {
    const tile = this.spare.pop() || this.makeTile();
    this.tiles.set(place, tile);
    const stride = Math.max(this.size + gap, (this.element.clientWidth - gap) / this.columns);
    tile.put(place, this.list[place], {
      x: gap + (place % this.columns) * stride,
      y: gap + Math.floor(place / this.columns) * this.rowHeight(),
      width: stride - gap,
      height: this.size + caption,
    });
    tile.element.id = `${this.id}-${place}`;
    tile.element.setAttribute("aria-posinset", place + 1);
    tile.element.setAttribute("aria-setsize", this.list.length);
    this.paint(tile);
    if (!this.rushing) tile.load(this.size);
  }

  makeTile() {
    const tile = new Tile({
      onClick: (place, event) => this.clicked(place, event),
      onOpen: (image) => this.onOpen(image),
    });
    this.spacer.append(tile.element);
    return tile;
  }

  release(place) {
    const tile = this.tiles.get(place);
    this.tiles.delete(place);
    tile.clear();
    this.spare.push(tile);
  }

  paint(tile) {
    const selected = this.selected.has(tile.image);
    tile.paint({ selected, active: tile.place === this.active, rejected: this.review && !selected });
  }

  // reveal scrolls until the active tile is in the window.
  reveal() {
    const { element } = this;
    const top = Math.floor(this.active / this.columns) * this.rowHeight();
    if (top < element.scrollTop) element.scrollTop = top;
    const bottom = top + this.rowHeight() + gap;
    if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
    this.render();
  }

  // While one rushes through the list, tiles come without pictures; these come when it settles.
  scrolled() {
    const { element } = this;
    this.rushing = Math.abs(element.scrollTop - (this.lastTop || 0)) > fast * element.clientHeight;
    this.lastTop = element.scrollTop;
    if (!this.queued) {
      this.queued = requestAnimationFrame(() => {
        this.queued = 0;
        this.render();
      });
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.rushing = false;
      this.render();
      for (const tile of this.tiles.values()) tile.load(this.size);
    }, settle);
  }

  // What a person does.

  changed() {
    this.repaint();
    this.onSelect(this.selected);
  }

  flip(place) {
    const image = this.list[place];
    if (!this.selected.delete(image)) this.selected.add(image);
  }

  spread(from, to) {
    for (let p = Math.min(from, to); p <= Math.max(from, to); p++) this.selected.add(this.list[p]);
  }

  clicked(place, event) {
    if (event.shiftKey) this.spread(this.anchor, place);
    else {
      this.flip(place);
      this.anchor = place;
    }
    this.activate(place, false);
    this.changed();
  }

  pressed(event) {
    if (!this.list.length) return;
    const name = combination(event);
    let done = true;
    if (name === " ") {
      this.anchor = this.active;
      this.toggle();
    } else if (name === "mod+a") this.selectAll();
    else if (name === "Enter") this.onOpen(this.list[this.active]);
    else done = this.move(event);
    if (!done) return;
    event.preventDefault();
    event.stopPropagation();
  }

  move(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / this.rowHeight())) * this.columns;
    const all = this.list.length;
    const step = {
      ...{ ArrowLeft: -1, ArrowRight: 1, ArrowUp: -this.columns, ArrowDown: this.columns },
      ...{ PageUp: -page, PageDown: page, Home: -all, End: all },
    }[event.key];
    if (step === undefined || event.ctrlKey || event.metaKey || event.altKey) return false;
    const before = this.active;
    this.activate(before + step);
    if (event.shiftKey) {
      this.spread(before, this.active);
      this.changed();
    } else this.anchor = this.active;
    return true;
  }
}
