// A tile of the grid: one picture, its label or what it looks like, and what was decided of it.

import * as api from "./api.js";
import { category } from "./colours.js";
import { h } from "./dom.js";
import { percent, tail } from "./format.js";
import { labelOf, nameOf, predictionOf, store } from "./store.js";

export class Tile {
  constructor({ onClick, onOpen }) {
    this.img = h("img", { alt: "", decoding: "async", draggable: false });
    this.mark = h("i.mark");
    this.text = h("span.text");
    this.badge = h("span.badge");
    const frame = h("div.frame", this.img, this.badge);
    this.element = h("div.tile", { role: "option" }, frame, h("div.caption", this.mark, this.text));
    this.img.addEventListener("error", () => {
      this.element.classList.toggle("broken", this.img.hasAttribute("src"));
    });
    this.element.addEventListener("click", (event) => onClick(this.place, event));
    this.element.addEventListener("dblclick", () => onOpen(this.image));
    this.loaded = -1;
  }

  // put makes the tile that of a picture at a place of the list.
  put(place, image, box) {
    Object.assign(this, { place, image });
    Object.assign(this.element.style, {
      transform: `translate(${box.x}px, ${box.y}px)`,
      width: `${box.width}px`,
      height: `${box.height}px`,
    });
    this.element.dataset.image = image;
    this.element.hidden = false;
  }

  // clear makes the tile one that shows nothing, and can be used again.
  clear() {
    this.element.hidden = true;
    this.element.removeAttribute("id");
    this.img.removeAttribute("src");
    this.loaded = -1;
  }

  load(size) {
    if (this.loaded === this.image) return;
    this.loaded = this.image;
    this.element.classList.remove("broken");
    this.img.src = api.thumb(this.image, size);
  }

  // paint shows what is known of the picture now.
  paint({ selected, active, rejected }) {
    const { image, element } = this;
    const given = labelOf(image);
    const guess = given ? "" : predictionOf(image);
    const name = tail(nameOf(image));
    const flags = { selected, active, rejected, guess: guess !== "" };
    for (const [flag, on] of Object.entries(flags)) element.classList.toggle(flag, on);
    this.paintClass(given, guess, name);
    const decision = store.decision[image] || "";
    this.badge.textContent = decision;
    element.dataset.decision = decision;
    element.title = name;
    element.setAttribute("aria-selected", String(selected));
    const said = given ? `labelled ${given}` : guess ? `looks like ${guess}` : "no label";
    element.setAttribute("aria-label", [name || `picture ${image}`, said, decision].filter(Boolean).join(", "));
  }

  paintClass(given, guess, name) {
    const { image } = this;
    const at = given ? store.label[image] : guess ? store.prediction[image] : -1;
    this.mark.hidden = at < 0;
    if (at >= 0) this.element.style.setProperty("--class", category(at));
    const sure = guess && store.confidence ? ` ${percent(store.confidence[image])}` : "";
    this.text.textContent = given || (guess ? guess + sure : name);
  }
}
