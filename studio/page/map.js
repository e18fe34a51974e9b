// The map of all pictures: points, pictures when one is near enough, pan and zoom. hand.js has what
// the mouse and the keyboard do to it.

import * as api from "./api.js";
import { h } from "./dom.js";
import { Hand } from "./hand.js";
import { makePoints } from "./points.js";
import { makePlaces } from "./places.js";
import { makeCards } from "./cards.js";
import { labelOf, nameOf, predictionOf } from "./store.js";
import { tail } from "./format.js";

const reach = 9; // pixels round the pointer in which a point counts as meant
const closest = 400; // how many times larger than the whole map one can zoom
const usual = 450; // pixels that a map's side has on a laptop
const nowhere = -9; // where pictures without features lie

const help = "Map of all pictures. Arrows move, plus and minus zoom, F shows all, Enter takes what is in view.";

// A PictureMap tells what a person did there: onLasso(images, where), onPick(image).
export class PictureMap {
  constructor({ onLasso, onPick }) {
    Object.assign(this, { onLasso, onPick, hovered: -1, marked: -1, lasso: null });
    this.base = h("canvas.points", { "aria-hidden": "true" });
    this.over = h("canvas.over", { "aria-hidden": "true" });
    this.tip = h("div.tip", { hidden: true });
    this.element = h(
      "div.map",
      { tabIndex: 0, role: "application", "aria-roledescription": "map of pictures", "aria-label": help },
      ...[this.base, this.over, this.tip],
    );
    this.points = makePoints(this.base);
    this.pen = this.over.getContext("2d");
    this.cards = makeCards(() => this.draw());
    // The middle of the view on the map, pixels for the map's side, the canvas, what makes points larger.
    this.view = { x: 0.5, y: 0.5, k: 300, width: 1, height: 1, ratio: 1, grow: 1 };
    this.fit = 300; // k at which the whole map is in view
    this.hand = new Hand(this);
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  setPlaces(values) {
    this.xy = values.map((v) => (Number.isNaN(v) ? nowhere : v));
    this.places = makePlaces(this.xy);
    this.points.places(this.xy);
    this.showAll();
  }

  setColours({ rgba, sizes, order }) {
    this.points.colours(rgba, sizes, order);
    this.cards.colours(rgba);
    this.draw();
  }

  setTool(tool) {
    this.hand.tool = tool;
    this.element.classList.toggle("lassoing", tool === "lasso");
  }

  // mark puts a ring round a picture's point; -1: none.
  mark(image) {
    this.marked = image;
    this.draw();
  }

  // Where things are.

  toScreen(x, y) {
    const { view } = this;
    return [(x - view.x) * view.k + view.width / 2, (y - view.y) * view.k + view.height / 2];
  }

  toMap(px, py) {
    const { view } = this;
    return [(px - view.width / 2) / view.k + view.x, (py - view.height / 2) / view.k + view.y];
  }

  screenOf(image) {
    return this.toScreen(this.xy[2 * image], this.xy[2 * image + 1]);
  }

  inView() {
    const found = [];
    const [x0, y0] = this.toMap(0, 0);
    const [x1, y1] = this.toMap(this.view.width, this.view.height);
    this.places.within(x0, y0, x1, y1, (i) => found.push(i));
    return found.sort((a, b) => a - b);
  }

  // Moving.

  resize() {
    const { view, element } = this;
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const whole = Math.abs(view.k - this.fit) < 1e-6;
    view.ratio = Math.min(2, window.devicePixelRatio || 1);
    [view.width, view.height] = [box.width, box.height];
    for (const canvas of [this.base, this.over]) {
      canvas.width = Math.round(box.width * view.ratio);
      canvas.height = Math.round(box.height * view.ratio);
    }
    this.fit = 0.92 * Math.min(view.width, view.height);
    if (whole || !this.xy) this.showAll();
    else this.drawNow();
  }

  showAll() {
    Object.assign(this.view, { x: 0.5, y: 0.5, k: this.fit });
    this.drawNow();
  }

  // zoom keeps the place under the pointer where it is.
  zoom(factor, px = this.view.width / 2, py = this.view.height / 2) {
    const { view, fit } = this;
    const [mx, my] = this.toMap(px, py);
    view.k = Math.min(closest * fit, Math.max(0.7 * fit, view.k * factor));
    view.x = mx - (px - view.width / 2) / view.k;
    view.y = my - (py - view.height / 2) / view.k;
    this.draw();
  }

  pan(dx, dy) {
    const { view } = this;
    view.x = Math.min(1.1, Math.max(-0.1, view.x - dx / view.k));
    view.y = Math.min(1.1, Math.max(-0.1, view.y - dy / view.k));
    this.draw();
  }

  // Drawing.

  draw() {
    if (this.wanted) return;
    this.wanted = requestAnimationFrame(() => {
      this.wanted = 0;
      this.drawNow();
    });
  }

  drawNow() {
    if (!this.xy) return;
    const { view, pen, fit } = this;
    const larger = Math.sqrt((view.k / fit) * (fit / usual)) * sizeFor(this.xy.length / 2);
    view.grow = Math.min(2.2, Math.max(0.8, larger));
    this.points.draw(view);
    pen.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    pen.clearRect(0, 0, view.width, view.height);
    const [x0, y0] = this.toMap(0, 0);
    const [x1, y1] = this.toMap(view.width, view.height);
    const toScreen = (x, y) => this.toScreen(x, y);
    this.cards.draw(pen, { places: this.places, x0, y0, x1, y1, k: view.k, fit, toScreen });
    for (const image of [this.marked, this.hovered]) this.ring(image);
    this.drawLasso();
  }

  ring(image) {
    if (image < 0) return;
    const { pen } = this;
    const [px, py] = this.screenOf(image);
    pen.beginPath();
    pen.arc(px, py, 7, 0, 7);
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(this.element).color;
    pen.stroke();
  }

  drawLasso() {
    const { pen, lasso } = this;
    if (!lasso || lasso.length < 2) return;
    const accent = getComputedStyle(this.element).getPropertyValue("--accent");
    pen.beginPath();
    lasso.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    pen.closePath();
    pen.globalAlpha = 0.12;
    pen.fillStyle = accent;
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeStyle = accent;
    pen.stroke();
  }

  // hover shows which picture is under the pointer.
  hover(px, py) {
    const [mx, my] = this.toMap(px, py);
    this.setHovered(this.places ? this.places.nearest(mx, my, reach / this.view.k) : -1);
  }

  setHovered(image) {
    this.hovered = image;
    this.element.classList.toggle("over", image >= 0);
    this.tip.hidden = image < 0;
    if (image >= 0) this.showTip(image);
    this.draw();
  }

  showTip(image) {
    const { tip, view } = this;
    const [px, py] = this.screenOf(image);
    const left = px > view.width - 190 ? px - 180 : px + 14;
    const top = py > view.height - 210 ? py - 200 : py + 14;
    Object.assign(tip.style, { left: `${Math.max(4, left)}px`, top: `${Math.max(4, top)}px` });
    if (tip.dataset.image === String(image)) return;
    tip.dataset.image = image;
    const guess = predictionOf(image);
    tip.replaceChildren(
      h("img", { src: api.thumb(image, 160), alt: "" }),
      h("b", labelOf(image) || (guess ? `${guess}?` : "no label")),
      h("span", tail(nameOf(image))),
    );
  }
}

// sizeFor makes points of small sets larger.
const sizeFor = (n) => (n < 2000 ? 1.6 : n < 20000 ? 1.15 : 0.9);
