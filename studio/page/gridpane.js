// The grid with what belongs to it: what it shows, which pictures are filtered, what can be done
// with those that are selected.

import { icon, select } from "./controls.js";
import { fill, h, key } from "./dom.js";
import { count } from "./format.js";
import { Grid } from "./grid.js";
import { store } from "./store.js";

const sizes = [72, 96, 128, 176, 240];

export const filters = [
  { name: "all", title: "All pictures", holds: () => true },
  { name: "unlabelled", title: "Without a label", holds: (i) => store.label[i] < 0 },
  { name: "labelled", title: "With a label", holds: (i) => store.label[i] >= 0 },
  { name: "unsure", title: "Hard to tell", holds: isUnsure },
  { name: "dropped", title: "Dropped", holds: (i) => store.decision[i] === "drop" },
];

function isUnsure(image) {
  return store.label[image] < 0 && store.confidence !== null && store.confidence[image] < 0.6;
}

// A GridPane tells what was asked for: onFilter(name), onBack(), and by run what was done with the
// selection: { accept, more, less, drop }.
export class GridPane {
  constructor({ onFilter, onBack, onSelect, onOpen, onActive, run }) {
    this.run = run;
    this.grid = new Grid({
      label: "Pictures",
      size: 96,
      onOpen,
      onActive,
      onSelect: () => {
        this.showActions();
        onSelect();
      },
    });
    this.title = h("h2.title");
    this.back = h("button.small", { type: "button", hidden: true, onclick: onBack }, "Show all");
    this.filter = select("Show", filters, onFilter);
    this.actions = h("div.actions", { hidden: true });
    const header = h(
      "header",
      ...[this.title, this.back, h("span.spring"), this.filter],
      icon("−", "Smaller pictures", () => this.larger(-1)),
      icon("+", "Larger pictures", () => this.larger(1)),
    );
    const label = { "aria-label": "Pictures" };
    this.element = h("section.pane.gridpane", label, header, this.grid.element, this.actions);
  }

  // show shows a view: { title, images, kind, selected, active, review }.
  show(view) {
    this.view = view;
    const isFilter = filters.some((f) => f.name === view.kind);
    this.filter.hidden = !isFilter;
    this.filter.value = isFilter ? view.kind : "all";
    this.back.hidden = view.kind === "all";
    const many = view.kind === "lasso" ? "" : ` · ${count(view.images.length)}`;
    fill(this.title, view.title, h("span.note", many));
    this.element.classList.toggle("empty", !view.images.length);
    this.grid.show(view.images, { selected: view.selected, active: view.active, review: view.review });
  }

  larger(step) {
    const at = sizes.indexOf(this.grid.size) + step;
    this.grid.resize(sizes[Math.min(sizes.length - 1, Math.max(0, at))]);
  }

  showActions() {
    const n = this.grid.selected.size;
    this.actions.hidden = n === 0;
    if (!n) return;
    const { run } = this;
    const review = Boolean(this.view.review);
    const button = (text, pressed, act) => h("button", { type: "button", onclick: act }, text, " ", key(pressed));
    fill(
      this.actions,
      h("b", `${count(n)} selected`),
      hint(review),
      h("span.spring"),
      store.prediction && button("Accept predictions", "y", run.accept),
      !review && [
        button("More like", "m", run.more),
        button("Less like", "l", run.less),
        button("Drop", "d", run.drop),
      ],
      button("None", "Esc", () => this.grid.clear()),
    );
  }
}

function hint(review) {
  if (review) return h("span.note", "Click the wrong ones, then accept the rest.");
  if (store.names.length) return h("span.note", key("1"), " … label");
  return h("span.note", key("c"), " name their class");
}
