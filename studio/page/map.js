// The map of all pictures: points, pictures when one is near enough, pan, zoom, lasso.

import * as api from "./api.js";
import { h } from "./dom.js";
import { combination } from "./keys.js";
import { makePoints } from "./points.js";
import { makePlaces } from "./places.js";
import { makeCards } from "./cards.js";
import { labelOf, nameOf, predictionOf } from "./store.js";
import { tail } from "./format.js";

const reach = 9; // pixels round the pointer in which a point counts as meant
const closest = 400; // how many times larger than the whole map one can zoom

// makeMap returns the map's element and what can be told to it. onLasso(images) and onPick(image)
// tell what a person did.
export function makeMap({ onLasso, onPick }) {
  const base = h("canvas.points", { "aria-hidden": "true" });
  const over = h("canvas.over", { "aria-hidden": "true" });
  const tip = h("div.tip", { hidden: true });
  const element = h(
    "div.map",
    {
      tabIndex: 0,
      role: "application",
      "aria-roledescription": "map of pictures",
      "aria-label":
        "Map of all pictures. Arrows move, plus and minus zoom, F shows all, Enter takes what is in view.",
    },
    base,
    over,
    tip,
  );
  const points = makePoints(base);
  const pen = over.getContext("2d");
  const cards = makeCards(() => draw());
  const view = { x: 0.5, y: 0.5, k: 300, width: 1, height: 1, ratio: 1, grow: 1 };
  let [xy, places, fit, tool, hovered, marked, lasso, wanted] = [null, null, 300, "pan", -1, -1, null, 0];

  const toScreen = (x, y) => [(x - view.x) * view.k + view.width / 2, (y - view.y) * view.k + view.height / 2];
  const toMap = (px, py) => [(px - view.width / 2) / view.k + view.x, (py - view.height / 2) / view.k + view.y];

  function draw() {
    if (wanted) return;
    wanted = requestAnimationFrame(() => {
      wanted = 0;
      drawNow();
    });
  }

  function drawNow() {
    if (!xy) return;
    view.grow = Math.min(2.2, Math.max(0.8, Math.sqrt(view.k / fit) * sizeFor(xy.length / 2)));
    points.draw(view);
    pen.setTransform(view.ratio, 0, 0, view.ratio, 0, 0);
    pen.clearRect(0, 0, view.width, view.height);
    const [x0, y0] = toMap(0, 0);
    const [x1, y1] = toMap(view.width, view.height);
    cards.draw(pen, { places, x0, y0, x1, y1, k: view.k, fit, toScreen });
    for (const image of [marked, hovered]) ring(image);
    drawLasso();
  }

  function ring(image) {
    if (image < 0) return;
    const [px, py] = toScreen(xy[2 * image], xy[2 * image + 1]);
    pen.beginPath();
    pen.arc(px, py, 7, 0, 7);
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(element).color;
    pen.stroke();
  }

  function drawLasso() {
    if (!lasso || lasso.length < 2) return;
    const style = getComputedStyle(element);
    pen.beginPath();
    lasso.forEach(([px, py], i) => (i ? pen.lineTo(px, py) : pen.moveTo(px, py)));
    pen.closePath();
    pen.globalAlpha = 0.12;
    pen.fillStyle = style.getPropertyValue("--accent");
    pen.fill();
    pen.globalAlpha = 1;
    pen.lineWidth = 1.5;
    pen.strokeStyle = style.getPropertyValue("--accent");
    pen.stroke();
  }

  function resize() {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const whole = Math.abs(view.k - fit) < 1e-6;
    view.ratio = Math.min(2, window.devicePixelRatio || 1);
    [view.width, view.height] = [box.width, box.height];
    for (const canvas of [base, over]) {
      canvas.width = Math.round(box.width * view.ratio);
      canvas.height = Math.round(box.height * view.ratio);
    }
    fit = 0.92 * Math.min(view.width, view.height);
    if (whole || !xy) showAll();
    else drawNow();
  }

  function showAll() {
    Object.assign(view, { x: 0.5, y: 0.5, k: fit });
    if (xy) drawNow();
  }

  // zoom keeps the place under the pointer where it is.
  function zoom(factor, px = view.width / 2, py = view.height / 2) {
    const [mx, my] = toMap(px, py);
    view.k = Math.min(closest * fit, Math.max(0.7 * fit, view.k * factor));
    view.x = mx - (px - view.width / 2) / view.k;
    view.y = my - (py - view.height / 2) / view.k;
    draw();
  }

  function pan(dx, dy) {
    view.x = Math.min(1.1, Math.max(-0.1, view.x - dx / view.k));
    view.y = Math.min(1.1, Math.max(-0.1, view.y - dy / view.k));
    draw();
  }

  function inView() {
    const found = [];
    const [x0, y0] = toMap(0, 0);
    const [x1, y1] = toMap(view.width, view.height);
    if (places) places.within(x0, y0, x1, y1, (i) => found.push(i));
    return found.sort((a, b) => a - b);
  }

  function hover(px, py) {
    const [mx, my] = toMap(px, py);
    hovered = places ? places.nearest(mx, my, reach / view.k) : -1;
    element.classList.toggle("over", hovered >= 0);
    showTip();
    draw();
  }

  let shown = -1;
  function showTip() {
    tip.hidden = hovered < 0;
    if (hovered < 0) {
      shown = -1;
      return;
    }
    const [px, py] = toScreen(xy[2 * hovered], xy[2 * hovered + 1]);
    const left = px > view.width - 190 ? px - 180 : px + 14;
    const top = py > view.height - 210 ? py - 200 : py + 14;
    Object.assign(tip.style, { left: `${Math.max(4, left)}px`, top: `${Math.max(4, top)}px` });
    if (shown === hovered) return;
    shown = hovered;
    const label = labelOf(hovered);
    const guess = predictionOf(hovered);
    tip.replaceChildren(
      h("img", { src: api.thumb(hovered, 160), alt: "" }),
      h("b", label || (guess ? `${guess}?` : "no label")),
      h("span", tail(nameOf(hovered))),
    );
  }

  let drag = null;
  const local = (event) => {
    const box = element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  over.addEventListener("pointerdown", (event) => {
    if (event.button > 1 || !xy) return;
    over.setPointerCapture(event.pointerId);
    const [px, py] = local(event);
    const lassoing = (tool === "lasso") !== event.shiftKey && event.button === 0;
    drag = { px, py, moved: 0 };
    lasso = lassoing ? [[px, py]] : null;
    element.focus({ preventScroll: true });
  });
  over.addEventListener("pointermove", (event) => {
    const [px, py] = local(event);
    if (!drag) return hover(px, py);
    drag.moved += Math.abs(px - drag.px) + Math.abs(py - drag.py);
    if (lasso) {
      const [lx, ly] = lasso[lasso.length - 1];
      if (Math.hypot(px - lx, py - ly) > 3) lasso.push([px, py]);
      draw();
    } else pan(px - drag.px, py - drag.py);
    [drag.px, drag.py] = [px, py];
    hovered = -1;
    showTip();
    return undefined;
  });
  over.addEventListener("pointerup", (event) => {
    if (!drag) return;
    const [px, py] = local(event);
    const clicked = drag.moved < 4;
    const path = lasso;
    [drag, lasso] = [null, null];
    if (clicked) {
      hover(px, py);
      if (hovered >= 0) onPick(hovered);
    } else if (path && path.length > 2) {
      onLasso(places.inside(path.map(([x, y]) => toMap(x, y))), "inside of the lasso");
    }
    draw();
  });
  over.addEventListener("pointercancel", () => {
    [drag, lasso] = [null, null];
    draw();
  });
  over.addEventListener("pointerleave", () => {
    hovered = -1;
    showTip();
    draw();
  });
  over.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const lines = event.deltaMode === 1 ? 20 : 1;
      zoom(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0016)), ...local(event));
    },
    { passive: false },
  );
  element.addEventListener("keydown", (event) => {
    const step = 60;
    const run = {
      ArrowLeft: () => pan(step, 0),
      ArrowRight: () => pan(-step, 0),
      ArrowUp: () => pan(0, step),
      ArrowDown: () => pan(0, -step),
      "+": () => zoom(1.4),
      "=": () => zoom(1.4),
      "-": () => zoom(1 / 1.4),
      f: showAll,
      Enter: () => onLasso(inView(), "in view on the map"),
    }[combination(event)];
    if (!run || !xy) return;
    event.preventDefault();
    event.stopPropagation();
    run();
  });

  const observer = new ResizeObserver(resize);
  observer.observe(element);
  return {
    element,
    zoom,
    showAll,
    inView,
    draw,
    kind: points.kind,
    places(values) {
      xy = values.map((v) => (Number.isNaN(v) ? -9 : v)); // pictures without features lie nowhere
      places = makePlaces(xy);
      points.places(xy);
      showAll();
    },
    colours(rgba, sizes, order) {
      points.colours(rgba, sizes, order);
      cards.colours(rgba);
      draw();
    },
    tool(value) {
      tool = value;
      element.classList.toggle("lassoing", tool === "lasso");
    },
    mark(image) {
      marked = image;
      draw();
    },
    view: () => ({ ...view }),
    screenOf: (image) => toScreen(xy[2 * image], xy[2 * image + 1]),
    remove: () => observer.disconnect(),
  };
}

// sizeFor makes points of small sets larger.
const sizeFor = (n) => (n < 2000 ? 1.6 : n < 20000 ? 1.15 : 0.9);
