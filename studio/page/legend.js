// What the map's colours stand for. A click shows the pictures of one colour.

import { category, none, scaleStops } from "./colours.js";
import { fill, h } from "./dom.js";
import { count, percent } from "./format.js";
import { range } from "./paint.js";

const most = 12; // entries before "and more"

export function makeLegend({ onChoose }) {
  const element = h("div.legend");
  let last = [null, "label"];

  function show(column, by) {
    last = [column, by];
    if (!column) {
      fill(
        element,
        h(
          "p.note",
          by === "prediction" || by === "confidence"
            ? "Predictions come with the first labels."
            : by === "truth"
              ? "These pictures are in no folders of classes."
              : "This is not ready yet.",
        ),
      );
    } else if (column.kind === "number") scale(column, by);
    else categories(column, by);
  }

  function scale(column, by) {
    const [low, high] = range(column.values);
    const text = (v) => (by === "confidence" ? percent(v) : v.toPrecision(2));
    const bar = h("i.scale", { style: { background: `linear-gradient(to right, ${scaleStops().join(", ")})` } });
    fill(element, h("div.numbers", h("span", text(low)), bar, h("span", text(high))));
  }

  function categories(column, by) {
    const counts = new Array(column.names.length).fill(0);
    let without = 0;
    for (const at of column.values)
      if (at >= 0) counts[at]++;
      else without++;
    const order = counts
      .map((_, i) => i)
      .filter((i) => counts[i])
      .sort((a, b) => counts[b] - counts[a]);
    const entry = (place, name, colour, n) =>
      h(
        "li",
        h(
          "button",
          { type: "button", onclick: () => onChoose(place) },
          h("i.swatch", { style: { background: colour } }),
          h("span.name", name),
          h("span.note", count(n)),
        ),
      );
    const rest = order.length - most;
    fill(
      element,
      h(
        "ul",
        order.slice(0, most).map((i) => entry(i, column.names[i], category(i), counts[i])),
        rest > 0 && h("li.note", `and ${count(rest)} more`),
        without > 0 && entry(-1, by === "label" ? "no label" : "none", none(), without),
      ),
    );
  }

  return { element, show, refresh: () => show(...last) };
}
