// Explore: the map beside a grid, with search and classes. What one part chooses, the others show.

import * as api from "./api.js";
import { accept, decide } from "./actions.js";
import { onScheme } from "./colours.js";
import { makeBulk, makeClassifier, sure } from "./classifier.js";
import { makeClassField, makeClassList } from "./classes.js";
import { command, fill, h, key, progress, state } from "./dom.js";
import { count, pictures } from "./format.js";
import { makeGrid } from "./grid.js";
import { bind } from "./keys.js";
import { makeLegend } from "./legend.js";
import { makeMap } from "./map.js";
import { choices, columnOf, forget, paint } from "./paint.js";
import { makeSearch } from "./search.js";
import { hasFeatures, isDone, on, store } from "./store.js";
import { view as openViewer } from "./viewer.js";

const sizes = [72, 96, 128, 176, 240];

const filters = [
  { name: "all", title: "All pictures", holds: () => true },
  { name: "unlabelled", title: "Without a label", holds: (i) => store.label[i] < 0 },
  { name: "labelled", title: "With a label", holds: (i) => store.label[i] >= 0 },
  {
    name: "unsure",
    title: "Hard to tell",
    holds: (i) => store.label[i] < 0 && store.confidence && store.confidence[i] < 0.6,
  },
  { name: "dropped", title: "Dropped", holds: (i) => store.decision[i] === "drop" },
];

export function makeExplore() {
  const page = { title: "Explore", name: "explore", by: "label", now: null };
  const everything = Array.from({ length: store.state.count }, (_, i) => i);

  // The parts.
  const grid = makeGrid({
    label: "Pictures",
    onSelect: selected,
    size: 96,
    onOpen: (image) =>
      openViewer(grid.list, image, { onMore: (i) => search.more([i]), onLess: (i) => search.less([i]) }),
    onActive: (image) => map.mark(image === undefined ? -1 : image),
  });
  const map = makeMap({
    onLasso: (images, where) =>
      show({ title: `${pictures(images.length)} ${where}`, images, selected: images, kind: "lasso" }),
    onPick: picked,
  });
  const search = makeSearch({ onResult: (found) => show(found || all()) });
  const legend = makeLegend({ onChoose: showCategory });
  const targets = () => grid.targets();
  const field = makeClassField({
    targets,
    placeholder: "Add a class: type and Enter",
    onDone: () => afterLabel(),
    back: () => grid.element.focus({ preventScroll: true }),
  });
  const classes = makeClassList({ targets, onLabel: afterLabel, onShow: showClass });
  const bulk = makeBulk({ onReview: (place, least) => page.review(place, least) });
  const next = h("section.panel.next");

  const colourBy = h(
    "select",
    {
      "aria-label": "Colour",
      onchange: () => {
        page.by = colourBy.value;
        recolour();
      },
    },
    choices.map((c) => h("option", { value: c.name }, c.title)),
  );
  const filter = h(
    "select",
    { "aria-label": "Show", onchange: () => show(filtered(filter.value)) },
    filters.map((f) => h("option", { value: f.name }, f.title)),
  );
  const tool = segmented(
    "What dragging does",
    [
      ["pan", "Move"],
      ["lasso", "Lasso"],
    ],
    "pan",
    map.tool,
  );
  const parts = segmented(
    "Show",
    [
      ["map", "Map"],
      ["both", "Both"],
      ["grid", "Grid"],
    ],
    "both",
    (value) => {
      body.dataset.parts = value;
    },
  );
  const title = h("h2.title");
  const back = h(
    "button.small",
    {
      type: "button",
      hidden: true,
      onclick: () => {
        search.clear();
        show(all());
      },
    },
    "Show all",
  );
  const actions = h("div.actions", { hidden: true });
  const mapEmpty = h("div.mapstate", { hidden: true });

  const mapPane = h(
    "section.pane.mappane",
    { "aria-label": "Map" },
    h(
      "header",
      h("label", "Colour ", colourBy),
      tool.element,
      h("span.spring"),
      icon("−", "Zoom out", () => map.zoom(1 / 1.5)),
      icon("+", "Zoom in", () => map.zoom(1.5)),
      icon("All", "Show the whole map", () => map.showAll()),
    ),
    h("div.mapbox", map.element, mapEmpty),
    legend.element,
  );
  const gridPane = h(
    "section.pane.gridpane",
    { "aria-label": "Pictures" },
    h(
      "header",
      title,
      back,
      h("span.spring"),
      filter,
      icon("−", "Smaller pictures", () => larger(-1)),
      icon("+", "Larger pictures", () => larger(1)),
    ),
    grid.element,
    actions,
  );
  const body = h("div.panes", { dataset: { parts: "both" } }, mapPane, gridPane);
  const rail = h(
    "aside.rail",
    { "aria-label": "Labels" },
    next,
    h("section.panel", h("h2", "Classes"), classes.element, field.element),
    makeClassifier().element,
    bulk.element,
  );
  page.element = h("div.explore", h("div.toolbar", search.element, h("span.spring"), parts.element), body, rail);

  // What is shown.
  function all() {
    return { title: "All pictures", images: everything, kind: "all" };
  }

  function filtered(name) {
    const f = filters.find((one) => one.name === name);
    search.clear();
    return { title: f.title, images: name === "all" ? everything : everything.filter(f.holds), kind: name };
  }

  function show(view) {
    page.now = view;
    if (!filters.some((f) => f.name === view.kind)) filter.value = "all";
    else filter.value = view.kind;
    grid.show(view.images, { selected: view.selected, review: Boolean(view.review), active: view.active });
    back.hidden = view.kind === "all";
    filter.hidden = !filters.some((f) => f.name === view.kind);
    title.textContent = view.kind === "all" ? `${view.title}` : view.title;
    const many = view.kind === "lasso" ? "" : ` · ${count(view.images.length)}`;
    title.append(h("span.note", many));
    gridPane.classList.toggle("empty", !view.images.length);
    recolour();
  }

  function showClass(name) {
    const at = store.names.indexOf(name);
    show({ title: `Labelled ${name}`, images: everything.filter((i) => store.label[i] === at), kind: "class" });
  }

  async function showCategory(place) {
    const column = await columnOf(page.by);
    if (!column || column.kind !== "category") return;
    const images = everything.filter((i) => column.values[i] === place);
    const what = choices.find((c) => c.name === page.by).title;
    show({ title: place < 0 ? `${what}: none` : `${what}: ${column.names[place]}`, images, kind: "category" });
  }

  // review shows what is predicted as a class: all are chosen, a click takes one out, one key
  // accepts the rest.
  page.review = (place, least) => {
    const images = sure(place, least);
    show({
      title: `Predicted ${store.names[place]}`,
      images,
      selected: images,
      kind: "review",
      review: true,
    });
    grid.element.focus();
  };

  function picked(image) {
    const place = grid.list.indexOf(image);
    if (place >= 0) {
      grid.activate(place);
      grid.toggle(place);
    } else {
      show({ ...all(), active: image, selected: [image] });
    }
  }

  function selected(set) {
    const n = set.size;
    actions.hidden = n === 0;
    if (n) {
      const review = page.now && page.now.review;
      const button = (text, pressed, run) => h("button", { type: "button", onclick: run }, text, " ", key(pressed));
      fill(
        actions,
        h("b", `${count(n)} selected`),
        review
          ? h("span.note", "Click the wrong ones, then accept the rest.")
          : store.names.length
            ? h("span.note", key("1"), " … label")
            : h("span.note", key("c"), " name their class"),
        h("span.spring"),
        store.prediction && button("Accept predictions", "y", () => acceptThese()),
        !review && button("More like", "m", () => search.more(targets())),
        !review && button("Less like", "l", () => search.less(targets())),
        !review && button("Drop", "d", () => decideThese("drop")),
        button("None", "Esc", () => grid.clear()),
      );
    }
    recolourSoon();
  }

  // What a label, an acceptance or a decision leaves behind: nothing chosen; a reviewed list
  // shrinks to what is left.
  function afterLabel() {
    if (page.now.review || page.now.kind === "unlabelled") {
      const images = grid.list.filter((i) => store.label[i] < 0);
      if (page.now.review && images.every((i) => !grid.selected.has(i))) page.now.review = false;
      show({
        ...page.now,
        images,
        selected: [],
        review: false,
        title: page.now.review ? page.now.title : page.now.kind === "review" ? "Not accepted" : page.now.title,
      });
    } else grid.clear();
  }

  function acceptThese() {
    const images = targets();
    accept(images);
    afterLabel();
  }

  function decideThese(decision) {
    decide(targets(), decision);
    grid.clear();
  }

  function larger(step) {
    const at = sizes.indexOf(grid.size);
    grid.resize(sizes[Math.min(sizes.length - 1, Math.max(0, at + step))]);
  }

  // Colours follow labels, predictions and selections; many changes at once are painted once.
  let planned = 0;
  function recolourSoon() {
    if (!planned && !page.element.hidden)
      planned = requestAnimationFrame(() => {
        planned = 0;
        recolour();
      });
  }

  async function recolour() {
    if (!page.places) return;
    const column = await columnOf(page.by).catch(() => null);
    const shown = page.now && page.now.kind !== "all" ? new Set(page.now.images) : null;
    const { rgba, sizes: dots, order } = paint(column, { selected: grid.selected, shown });
    map.colours(rgba, dots, order);
    legend.show(column, page.by);
  }

  // The map comes when the server has laid it out.
  async function fetchMap() {
    if (page.places || !isDone("layout")) return showMapState();
    const xy = await api.layout().catch(() => null);
    page.places = xy;
    if (xy) {
      map.places(xy);
      recolour();
    }
    showMapState();
  }

  function showMapState() {
    mapEmpty.hidden = Boolean(page.places);
    legend.element.hidden = !page.places;
    if (page.places) return;
    const work = store.state.work || {};
    const part = (name) => work[name] || { state: "none", done: 0, total: 0 };
    const failed = ["encode", "neighbours", "layout"].find((name) => part(name).state === "failed");
    if (failed) fill(mapEmpty, state("There is no map", part(failed).error || "Making it failed."));
    else if (!hasFeatures() && part("encode").state !== "running") fill(mapEmpty, advice());
    else {
      const steps = {
        encode: "Looking at each picture",
        neighbours: "Finding neighbours",
        layout: "Laying out the map",
      };
      fill(
        mapEmpty,
        state(
          "The map is being made",
          "You can look through the pictures and label them meanwhile.",
          Object.entries(steps).map(([name, text]) =>
            progress(
              part(name).total ? `${text}: ${count(part(name).done)} of ${count(part(name).total)}` : text,
              part(name).state === "done" ? 1 : part(name).done,
              part(name).state === "done" ? 1 : part(name).total,
            ),
          ),
        ),
      );
    }
  }

  function advice() {
    const lines = (store.state.advice || "").split(/\n|, then /).filter(Boolean);
    const commands = lines.filter((line) => line.trim().startsWith("moco "));
    const said = lines.filter((line) => !line.trim().startsWith("moco "));
    return state(
      "No model yet",
      "Looking and labelling work already. With a model the studio also lays out this map, " +
        "finds what looks alike and guesses labels.",
      said.map((line) => h("p.note", line)),
      commands.map((c) => command(c.trim())),
    );
  }

  function refreshNext() {
    const { labelled, count: n } = store.state;
    const go = h("a.button.primary", { href: "#label" }, labelled ? "Label next " : "Start labelling ", key("g"));
    fill(
      next,
      labelled ? null : h("h2", "Start here"),
      h(
        "p",
        labelled
          ? `${count(labelled)} of ${count(n)} labelled. `
          : "The studio shows a picture and asks what it is. ",
        h(
          "span.note",
          labelled
            ? "The studio asks about those it learns most from."
            : "After a few answers it guesses the rest, and says how often it will be right.",
        ),
      ),
      go,
    );
  }

  on("labels", (images) => {
    if (page.by === "label" || !images) recolourSoon();
  });
  on("classifier", () => {
    if (["prediction", "confidence"].includes(page.by)) recolourSoon();
  });
  on("classifier", () => selected(grid.selected));
  on("state", () => {
    refreshNext();
    if (page.places) legend.refresh();
  });
  on("work", (before) => {
    for (const name of ["clusters", "outliers"]) {
      if (isDone(name) && !isDone(name, before)) {
        forget("cluster");
        forget("outlier");
        recolourSoon();
      }
    }
    fetchMap();
  });
  onScheme(() => {
    grid.repaint();
    recolour();
  });

  let unbind = null;
  page.show = () => {
    unbind = bind("Explore", [
      { keys: ["/"], text: "search names", run: () => search.input.focus() },
      { keys: ["y"], text: "accept the predictions of what is selected", run: acceptThese },
      { keys: ["m"], text: "more like what is selected", run: () => search.more(targets()) },
      { keys: ["l"], text: "less like what is selected", run: () => search.less(targets()) },
      { keys: ["d"], text: "drop (decide only: no file is touched)", run: () => decideThese("drop") },
      { keys: ["k"], text: "keep", run: () => decideThese("keep") },
      { keys: ["x"], text: "reject the picture under review", run: () => grid.toggle() },
      { keys: [" "], show: "Space", text: "select the picture", run: () => false },
      { keys: ["Enter"], text: "open the picture", run: () => false },
      { keys: ["mod+a"], show: "Ctrl A", text: "select all that are shown", run: () => grid.selectAll() },
      { keys: ["Escape"], show: "Esc", text: "select none, then show all", run: escape },
      { keys: ["o"], text: "lasso or move on the map", run: () => tool.next() },
      {
        keys: ["arrows"],
        show: "← ↑ → ↓",
        text: "go through the grid, or move the map; Shift selects",
        run: () => false,
      },
      { keys: ["+", "="], show: "+ −", text: "larger and smaller pictures", run: () => larger(1) },
      { keys: ["-"], run: () => larger(-1) },
    ]);
    recolour();
  };
  page.hide = () => unbind && unbind();
  function escape() {
    if (grid.selected.size) grid.clear();
    else {
      search.clear();
      show(all());
    }
  }

  Object.assign(page, {
    targets,
    afterLabel,
    field,
    search,
    grid,
    map,
    start() {
      show(all());
      refreshNext();
      showMapState();
      fetchMap();
      if (!page.element.hidden) grid.element.focus({ preventScroll: true });
    },
  });
  return page;
}

const icon = (text, said, run) =>
  h("button.icon", { type: "button", title: said, "aria-label": said, onclick: run }, text);

// segmented is a choice of a few, one of which holds.
function segmented(label, options, first, run) {
  const buttons = options.map(([value, text]) =>
    h(
      "button",
      {
        type: "button",
        "aria-pressed": String(value === first),
        onclick: () => set(value),
        dataset: { value },
      },
      text,
    ),
  );
  function set(value) {
    for (const b of buttons) b.setAttribute("aria-pressed", String(b.dataset.value === value));
    run(value);
  }
  const next = () => {
    const at = buttons.findIndex((b) => b.getAttribute("aria-pressed") === "true");
    set(buttons[(at + 1) % buttons.length].dataset.value);
  };
  return { element: h("div.segmented", { role: "group", "aria-label": label }, buttons), set, next };
}
