// Watch: a training run in progress.

import * as api from "./api.js";
import { chart } from "./chart.js";
import { fill, h, progress, state } from "./dom.js";
import { count, duration, percent } from "./format.js";
import { nameOf, on, store } from "./store.js";
import { view } from "./viewer.js";

const pause = 5000; // milliseconds between two looks where no event told of news

export function makeWatch() {
  const page = { title: "Watch", name: "watch", targets: () => [], afterLabel() {} };
  page.element = h("div.watching", state("Reading the run …"));
  let timer = 0;

  function show(run) {
    const running = run.state === "running";
    if (run.state === "none") {
      fill(page.element, state("The run has not begun to write", "Its curves appear here with its first steps."));
      return;
    }
    const title =
      { running: "The run is training", done: "The run is done", stopped: "The run has stopped" }[run.state] ||
      "The run";
    const facts = [
      ["Step", `${count(run.step)} of ${count(run.steps)}`],
      ["Epoch", `${count(run.epoch)} of ${count(Math.ceil(run.epochs))}`],
      ["Pictures a second", run.rate ? count(Math.round(run.rate)) : "–"],
      ["Time left", running && run.rate ? duration(run.left_s) : "–"],
    ];
    fill(
      page.element,
      h(
        "header.run",
        h("h2", title),
        progress("", run.step, run.steps),
        (run.warnings || []).map((text) => h("p.bad", text)),
        h(
          "dl.run-facts",
          facts.map(([name, value]) => h("div", h("dt", name), h("dd", value))),
        ),
      ),
      h(
        "div.charts",
        chart("Loss", run.loss || [], {
          hue: "c0",
          level: Number.isFinite(run.chance)
            ? { at: run.chance, text: `dashed: chance, ${run.chance.toFixed(2)}` }
            : null,
        }),
        chart("Accuracy of picking the right key", run.accuracy || [], {
          hue: "c2",
          show: (v) => percent(v),
          low: 0,
        }),
        chart("Spread of the features", run.spread || [], {
          hue: "c1",
          low: 0,
          show: (v) => v.toFixed(2),
          level: { at: 1, text: "1: evenly, 0: collapsed" },
        }),
        run.knn && run.knn.length > 1
          ? chart("Neighbours of the same class", run.knn, { hue: "c2", show: (v) => `${v.toFixed(0)}%`, low: 0 })
          : null,
      ),
      probes(run),
    );
  }

  function probes(run) {
    if (!run.probes || !run.probes.length) return null;
    const picture = (i, list) =>
      h(
        "button.picture",
        { type: "button", title: nameOf(i), onclick: () => view(list, i) },
        h("img", { src: api.thumb(i, 128), alt: nameOf(i), loading: "lazy" }),
      );
    return h(
      "section.probes",
      h("h2", "What lies beside a few pictures"),
      h("p.note", "The first of each row is asked for; the others are what the encoder finds most alike by now."),
      h(
        "div.rows",
        run.probes.map((p) =>
          h(
            "div.row",
            h("div.query", picture(p.image, [p.image, ...p.neighbours])),
            p.neighbours.map((i) => picture(i, [p.image, ...p.neighbours])),
          ),
        ),
      ),
    );
  }

  async function look() {
    clearTimeout(timer);
    if (page.element.hidden) return;
    try {
      const run = await api.get("/api/run");
      show(run);
      if (run.state === "running" || run.state === "none") timer = setTimeout(look, pause);
    } catch (error) {
      fill(
        page.element,
        error.status === 404
          ? state("No run to watch", "Start the studio with the folder of a run that is training: --model run.")
          : state("The run cannot be read", error.message),
      );
    }
  }

  let planned = 0;
  on("run", () => {
    if (planned || page.element.hidden) return;
    planned = setTimeout(() => {
      planned = 0;
      look();
    }, 400);
  });
  page.show = look;
  page.hide = () => clearTimeout(timer);
  page.wanted = () => Boolean(store.state.run);
  return page;
}
