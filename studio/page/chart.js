// A line over steps, drawn as SVG: axes with few ticks, a dashed level, the last value written
// beside the line.

import { h, svg } from "./dom.js";
import { count } from "./format.js";

const [width, height] = [520, 210];
const edge = { left: 46, right: 56, top: 12, bottom: 26 };

// chart draws points [[step, value], ...]; level = { at, text } is a dashed line.
export function chart(title, points, { level, show = (v) => v.toPrecision(3), hue = "c0", low } = {}) {
  const known = points.filter((p) => Number.isFinite(p[1]));
  const figure = h("figure.chart", h("figcaption", h("h3", title), level ? h("span.note", level.text) : null));
  if (known.length < 2) {
    figure.append(
      known.length
        ? h("p.single", h("b", show(known[0][1])), h("span.note", ` at step ${count(known[0][0])}`))
        : h("p.note.nothing", "There is nothing to draw yet."),
    );
    return figure;
  }
  const values = known.map((p) => p[1]).concat(level ? [level.at] : [], low !== undefined ? [low] : []);
  const [bottom, top, ticks] = axis(Math.min(...values), Math.max(...values));
  const [from, to] = [known[0][0], known[known.length - 1][0]];
  const x = (s) => edge.left + ((s - from) / (to - from || 1)) * (width - edge.left - edge.right);
  const y = (v) => height - edge.bottom - ((v - bottom) / (top - bottom || 1)) * (height - edge.top - edge.bottom);
  const calm = smooth(known);
  const last = [to, calm[calm.length - 1][1]];
  const path = (list) => list.map(([s, v], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  const right = width - edge.right;
  figure.append(
    svg(
      "svg",
      {
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        "aria-label": `${title}: ${show(last[1])} at step ${last[0]}`,
      },
      ticks.map((t) => [
        svg("line", { class: "grid", x1: edge.left, x2: right, y1: y(t), y2: y(t) }),
        svg("text", { class: "tick end", x: edge.left - 6, y: y(t) + 4 }, show(t)),
      ]),
      level ? svg("line", { class: "level", x1: edge.left, x2: right, y1: y(level.at), y2: y(level.at) }) : null,
      calm === known ? null : svg("path", { class: `curve raw ${hue}`, d: path(known) }),
      svg("path", { class: `curve ${hue}`, d: path(calm) }),
      svg("circle", { class: hue, cx: x(last[0]), cy: y(last[1]), r: 3.5 }),
      svg("text", { class: "value", x: x(last[0]) + 8, y: y(last[1]) + 4 }, show(last[1])),
      svg("text", { class: "tick", x: edge.left, y: height - 8 }, `step ${count(from)}`),
      svg("text", { class: "tick end", x: right, y: height - 8 }, count(to)),
    ),
  );
  return figure;
}

// smooth gives the mean of each of some equal parts of a long line, from its first point to its
// last.
function smooth(points) {
  const parts = 60;
  if (points.length < 3 * parts) return points;
  const calm = [];
  for (let part = 0; part < parts; part++) {
    const some = points.slice(
      Math.floor((part * points.length) / parts),
      Math.floor(((part + 1) * points.length) / parts),
    );
    calm.push([some[some.length >> 1][0], some.reduce((sum, p) => sum + p[1], 0) / some.length]);
  }
  return calm;
}

// axis gives round ends and about four round ticks.
function axis(low, high) {
  if (low === high) {
    low -= 0.5;
    high += 0.5;
  }
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough);
  const bottom = Math.floor(low / step) * step;
  const top = Math.ceil(high / step) * step;
  const ticks = [];
  for (let t = bottom; t <= top + step / 2; t += step) ticks.push(Number(t.toPrecision(12)));
  return [bottom, top, ticks];
}
