// What the mouse and the keyboard do on the map: move, zoom, draw a lasso, pick a picture.

import { combination } from "./keys.js";

const click = 4; // pixels that a hand may move and still have clicked
const keyStep = 60; // pixels that an arrow moves the map

export class Hand {
  constructor(map) {
    Object.assign(this, { map, tool: "pan", drag: null });
    const { over, element } = map;
    const events = { pointerdown: "down", pointermove: "moved", pointerup: "up" };
    for (const [name, method] of Object.entries(events)) {
      over.addEventListener(name, (event) => map.xy && this[method](event, this.local(event)));
    }
    over.addEventListener("pointercancel", () => this.end());
    over.addEventListener("pointerleave", () => map.setHovered(-1));
    over.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("keydown", (event) => this.pressed(event));
  }

  local(event) {
    const box = this.map.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event, [px, py]) {
    if (event.button > 1) return;
    this.map.over.setPointerCapture(event.pointerId);
    const lassoing = (this.tool === "lasso") !== event.shiftKey && event.button === 0;
    this.drag = { px, py, moved: 0 };
    this.map.lasso = lassoing ? [[px, py]] : null;
    this.map.element.focus({ preventScroll: true });
  }

  moved(_, [px, py]) {
    const { map, drag } = this;
    if (!drag) {
      map.hover(px, py);
      return;
    }
    drag.moved += Math.abs(px - drag.px) + Math.abs(py - drag.py);
    if (map.lasso) {
      const [lx, ly] = map.lasso[map.lasso.length - 1];
      if (Math.hypot(px - lx, py - ly) > 3) map.lasso.push([px, py]);
    } else map.pan(px - drag.px, py - drag.py);
    [drag.px, drag.py] = [px, py];
    map.setHovered(-1);
  }

  up(_, [px, py]) {
    const { map, drag } = this;
    if (!drag) return;
    const path = map.lasso;
    this.end();
    if (drag.moved < click) {
      map.hover(px, py);
      if (map.hovered >= 0) map.onPick(map.hovered);
    } else if (path && path.length > 2) {
      map.onLasso(map.places.inside(path.map(([x, y]) => map.toMap(x, y))), "inside of the lasso");
    }
  }

  end() {
    this.drag = null;
    this.map.lasso = null;
    this.map.draw();
  }

  wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 20 : 1;
    // A pinch on a touchpad comes as a wheel with Ctrl, in smaller steps.
    const step = event.ctrlKey ? 0.01 : 0.0016;
    this.map.zoom(Math.exp(-event.deltaY * lines * step), ...this.local(event));
  }

  pressed(event) {
    const { map } = this;
    const run = {
      ArrowLeft: () => map.pan(keyStep, 0),
      ArrowRight: () => map.pan(-keyStep, 0),
      ArrowUp: () => map.pan(0, keyStep),
      ArrowDown: () => map.pan(0, -keyStep),
      "+": () => map.zoom(1.4),
      "=": () => map.zoom(1.4),
      "-": () => map.zoom(1 / 1.4),
      f: () => map.showAll(),
      Enter: () => map.onLasso(map.inView(), "in view on the map"),
    }[combination(event)];
    if (!run || !map.xy) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  }
}
