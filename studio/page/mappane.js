// The map with what belongs to it: its colours and their legend, its tools, and what is shown while
// there is no map yet.

import * as api from "./api.js";
import { onScheme } from "./colours.js";
import { icon, segmented, select } from "./controls.js";
import { command, fill, h, progress, state } from "./dom.js";
import { count } from "./format.js";
import { makeLegend } from "./legend.js";
import { PictureMap } from "./map.js";
import { choices, columnOf, forget, paint } from "./paint.js";
import { hasFeatures, isDone, on, store } from "./store.js";

// What the server does before there is a map, in order.
const steps = {
  encode: "Looking at each picture",
  neighbours: "Finding neighbours",
  layout: "Laying out the map",
};

// A MapPane tells what was chosen: onLasso(images, where), onPick(image), onCategory(title, images).
// chosen() gives what the page shows and selects: { shown: a Set or null for all, selected: a Set }.
export class MapPane {
  constructor({ onLasso, onPick, onCategory, chosen }) {
    Object.assign(this, { onCategory, chosen, by: "label" });
    this.map = new PictureMap({ onLasso, onPick });
    this.legend = makeLegend({ onChoose: (place) => this.chooseCategory(place) });
    this.tool = segmented("What dragging does", { pan: "Move", lasso: "Lasso" }, (t) => this.map.setTool(t));
    this.empty = h("div.mapstate", { hidden: true });
    this.element = this.build();
    this.listen();
  }

  build() {
    const { map } = this;
    const colour = select("Colour", choices, (by) => {
      this.by = by;
      this.recolour();
    });
    const header = h(
      "header",
      h("label", "Colour ", colour),
      this.tool.element,
      h("span.spring"),
      icon("−", "Zoom out", () => map.zoom(1 / 1.5)),
      icon("+", "Zoom in", () => map.zoom(1.5)),
      icon("All", "Show the whole map", () => map.showAll()),
    );
    const box = h("div.mapbox", map.element, this.empty);
    return h("section.pane.mappane", { "aria-label": "Map" }, header, box, this.legend.element);
  }

  listen() {
    on("labels", (images) => (this.by === "label" || !images) && this.recolourSoon());
    on("classifier", () => ["prediction", "confidence"].includes(this.by) && this.recolourSoon());
    on("state", () => this.map.xy && this.legend.refresh());
    on("work", (before) => {
      if (["clusters", "outliers"].some((part) => isDone(part) && !isDone(part, before))) {
        forget("cluster");
        forget("outlier");
        this.recolourSoon();
      }
      this.fetch();
    });
    onScheme(() => this.recolour());
  }

  // recolourSoon paints many changes at once.
  recolourSoon() {
    if (this.planned || this.element.closest("[hidden]")) return;
    this.planned = requestAnimationFrame(() => {
      this.planned = 0;
      this.recolour();
    });
  }

  async recolour() {
    if (!this.map.xy) return;
    const column = await columnOf(this.by).catch(() => null);
    this.map.setColours(paint(column, this.chosen()));
    this.legend.show(column, this.by);
  }

  async chooseCategory(place) {
    const column = await columnOf(this.by);
    if (!column || column.kind !== "category") return;
    const images = [];
    column.values.forEach((at, image) => at === place && images.push(image));
    const what = choices.find((c) => c.name === this.by).title;
    this.onCategory(`${what}: ${place < 0 ? "none" : column.names[place]}`, images);
  }

  // fetch takes the map when the server has laid it out.
  async fetch() {
    if (!this.map.xy && isDone("layout")) {
      const xy = await api.layout().catch(() => null);
      if (xy) {
        this.map.setPlaces(xy);
        this.recolour();
      }
    }
    this.showState();
  }

  showState() {
    const there = Boolean(this.map.xy);
    this.empty.hidden = there;
    this.legend.element.hidden = !there;
    if (there) return;
    const part = (name) => (store.state.work || {})[name] || { state: "none", done: 0, total: 0 };
    const failed = Object.keys(steps).find((name) => part(name).state === "failed");
    if (failed) fill(this.empty, state("There is no map", part(failed).error || "Making it failed."));
    else if (!hasFeatures() && part("encode").state !== "running") fill(this.empty, advice());
    else fill(this.empty, making(part));
  }
}

function making(part) {
  const bars = Object.entries(steps).map(([name, text]) => {
    const { done, total } = part(name);
    if (isDone(name)) return progress(text, 1, 1);
    return progress(total ? `${text}: ${count(done)} of ${count(total)}` : text, done, total);
  });
  return state("The map is being made", "You can look through the pictures and label them meanwhile.", bars);
}

// advice says how to get a model: the server's sentence, its commands ready to be copied.
function advice() {
  const lines = (store.state.advice || "").split(/\n|, then /).filter(Boolean);
  const isCommand = (line) => line.trim().startsWith("moco ");
  return state(
    "No model yet",
    "Looking and labelling work already. With a model the studio also lays out this map, " +
      "finds what looks alike and guesses labels.",
    lines.filter((line) => !isCommand(line)).map((line) => h("p.note", line)),
    lines.filter(isCommand).map((line) => command(line.trim())),
  );
}
