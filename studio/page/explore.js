// Explore: the map beside a grid, with search and classes. What one part chooses, the others show.

import { accept, decide } from "./actions.js";
import { onScheme } from "./colours.js";
import { makeBulk, makeClassifier, sure } from "./classifier.js";
import { makeClassField, makeClassList } from "./classes.js";
import { segmented } from "./controls.js";
import { fill, h, key } from "./dom.js";
import { count, pictures } from "./format.js";
import { filters, GridPane } from "./gridpane.js";
import { bind } from "./keys.js";
import { MapPane } from "./mappane.js";
import { makeSearch } from "./search.js";
import { on, store } from "./store.js";
import { view as openViewer } from "./viewer.js";

export class Explore {
  constructor() {
    Object.assign(this, { title: "Explore", name: "explore", now: null });
    this.everything = Array.from({ length: store.state.count }, (_, i) => i);
    this.search = makeSearch({ onResult: (found) => this.view(found || this.all()) });
    this.mapPane = this.makeMapPane();
    this.gridPane = this.makeGridPane();
    this.grid = this.gridPane.grid;
    this.element = this.build();
    on("classifier", () => this.gridPane.showActions());
    on("state", () => this.showNext());
    onScheme(() => this.grid.repaint());
  }

  makeMapPane() {
    return new MapPane({
      onLasso: (images, where) =>
        this.view({ title: `${pictures(images.length)} ${where}`, images, selected: images, kind: "lasso" }),
      onPick: (image) => this.pick(image),
      onCategory: (title, images) => this.view({ title, images, kind: "category" }),
      chosen: () => ({
        selected: this.grid.selected,
        shown: this.now && this.now.kind !== "all" ? new Set(this.now.images) : null,
      }),
    });
  }

  makeGridPane() {
    const { search } = this;
    return new GridPane({
      onFilter: (name) => this.view(this.filtered(name)),
      onBack: () => this.showAll(),
      onSelect: () => this.mapPane.recolourSoon(),
      onActive: (image) => this.mapPane.map.mark(image === undefined ? -1 : image),
      onOpen: (image) =>
        openViewer(this.grid.list, image, {
          onMore: (i) => search.more([i]),
          onLess: (i) => search.less([i]),
        }),
      run: {
        accept: () => this.accept(),
        more: () => search.more(this.targets()),
        less: () => search.less(this.targets()),
        drop: () => this.decide("drop"),
      },
    });
  }

  build() {
    const panes = h("div.panes", { dataset: { parts: "both" } }, this.mapPane.element, this.gridPane.element);
    const parts = segmented("Show", { both: "Both", map: "Map", grid: "Grid" }, (value) => {
      panes.dataset.parts = value;
    });
    const toolbar = h("div.toolbar", this.search.element, h("span.spring"), parts.element);
    return h("div.explore", toolbar, panes, this.makeRail());
  }

  makeRail() {
    const targets = () => this.targets();
    this.next = h("section.panel.next");
    this.field = makeClassField({
      targets,
      placeholder: "Add a class: type and Enter",
      onDone: () => this.afterLabel(),
      back: () => this.grid.element.focus({ preventScroll: true }),
    });
    const classes = makeClassList({
      targets,
      onLabel: () => this.afterLabel(),
      onShow: (name) => this.showClass(name),
    });
    const bulk = makeBulk({ onReview: (place, least) => this.review(place, least) });
    return h(
      "aside.rail",
      { "aria-label": "Labels" },
      this.next,
      h("section.panel", h("h2", "Classes"), classes.element, this.field.element),
      makeClassifier().element,
      bulk.element,
    );
  }

  start() {
    this.view(this.all());
    this.showNext();
    this.mapPane.fetch();
    if (!this.element.hidden) this.grid.element.focus({ preventScroll: true });
  }

  // What is shown.

  all() {
    return { title: "All pictures", images: this.everything, kind: "all" };
  }

  filtered(name) {
    const { title, holds } = filters.find((f) => f.name === name);
    this.search.clear();
    return { title, images: name === "all" ? this.everything : this.everything.filter(holds), kind: name };
  }

  view(view) {
    this.now = view;
    this.gridPane.show(view);
    this.mapPane.recolour();
  }

  showAll() {
    this.search.clear();
    this.view(this.all());
  }

  showClass(name) {
    const at = store.names.indexOf(name);
    const images = this.everything.filter((i) => store.label[i] === at);
    this.view({ title: `Labelled ${name}`, images, kind: "class" });
  }

  // review shows what is predicted as a class: all are selected, a click takes one out, one key
  // accepts the rest.
  review(place, least) {
    const images = sure(place, least);
    const title = `Predicted ${store.names[place]}`;
    this.view({ title, images, selected: images, kind: "review", review: true });
    this.grid.element.focus();
  }

  // pick selects the picture of a point of the map.
  pick(image) {
    const place = this.grid.list.indexOf(image);
    if (place < 0) {
      this.view({ ...this.all(), active: image, selected: [image] });
      return;
    }
    this.grid.activate(place);
    this.grid.toggle(place);
  }

  showNext() {
    const { labelled, count: n } = store.state;
    const go = h("a.button.primary", { href: "#label" }, labelled ? "Label next " : "Start labelling ", key("g"));
    const [first, then] = labelled
      ? [`${count(labelled)} of ${count(n)} labelled. `, "The studio asks about those it learns most from."]
      : [
          "The studio shows a picture and asks what it is. ",
          "After a few answers it guesses the rest, and says how often it will be right.",
        ];
    fill(this.next, labelled ? null : h("h2", "Start here"), h("p", first, h("span.note", then)), go);
  }

  // What is done.

  targets() {
    return this.grid.targets();
  }

  // afterLabel leaves nothing selected; a list of pictures without a label shrinks to what is left.
  afterLabel() {
    if (!this.now.review && this.now.kind !== "unlabelled") {
      this.grid.clear();
      return;
    }
    const images = this.grid.list.filter((i) => store.label[i] < 0);
    const title = this.now.review ? "Not accepted" : this.now.title;
    this.view({ title, images, kind: this.now.kind });
  }

  accept() {
    accept(this.targets());
    this.afterLabel();
  }

  decide(decision) {
    decide(this.targets(), decision);
    this.grid.clear();
  }

  escape() {
    if (this.grid.selected.size) this.grid.clear();
    else this.showAll();
  }

  show() {
    this.unbind = bind("Explore", this.keys());
    this.mapPane.recolour();
  }

  hide() {
    this.unbind();
  }

  // Keys without a run are the grid's or the map's own; they stand here for the list of keys.
  keys() {
    const { search, grid, gridPane } = this;
    const elsewhere = () => false;
    return [
      { keys: ["/"], text: "search names", run: () => search.input.focus() },
      { keys: ["y"], text: "accept the predictions of what is selected", run: () => this.accept() },
      { keys: ["m"], text: "more like what is selected", run: () => search.more(this.targets()) },
      { keys: ["l"], text: "less like what is selected", run: () => search.less(this.targets()) },
      { keys: ["d"], text: "drop (decide only: no file is touched)", run: () => this.decide("drop") },
      { keys: ["k"], text: "keep", run: () => this.decide("keep") },
      { keys: ["x"], text: "reject the picture under review", run: () => grid.toggle() },
      { keys: [" "], show: "Space", text: "select the picture", run: elsewhere },
      { keys: ["Enter"], text: "open the picture", run: elsewhere },
      { keys: ["mod+a"], show: "Ctrl A", text: "select all that are shown", run: () => grid.selectAll() },
      { keys: ["Escape"], show: "Esc", text: "select none, then show all", run: () => this.escape() },
      { keys: ["o"], text: "lasso or move on the map", run: () => this.mapPane.tool.next() },
      { keys: ["arrows"], show: "← ↑ → ↓", text: "go through grid or map; Shift selects", run: elsewhere },
      { keys: ["+", "="], show: "+ −", text: "larger and smaller pictures", run: () => gridPane.larger(1) },
      { keys: ["-"], run: () => gridPane.larger(-1) },
    ];
  }
}
