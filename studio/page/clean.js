// Clean: near-duplicates, outliers, doubtful labels. Each is a queue of questions with its keys.

import { fill, h, progress, state } from "./dom.js";
import { count } from "./format.js";
import { bind } from "./keys.js";
import { asBindings } from "./queue.js";
import { hasFeatures, isDone, on, store } from "./store.js";
import { makeDuplicates } from "./duplicates.js";
import { makeDoubtful, makeOutliers } from "./suspects.js";

export function makeClean() {
  const page = { title: "Clean", name: "clean" };
  const queues = [makeDuplicates(), makeOutliers(), makeDoubtful()];
  let chosen = queues[0];
  const tabs = h("div.queues", { role: "tablist", "aria-label": "Queues" });
  const body = h("div.question-body");
  page.element = h(
    "div.cleaning",
    h(
      "aside.rail.left",
      tabs,
      h("p.note", "Decisions are only written down. No picture is moved or deleted: Export has them as lists."),
    ),
    body,
  );

  function choose(queue) {
    chosen = queue;
    show();
  }

  function step(by) {
    chosen.at = Math.min(chosen.items.length - 1, Math.max(0, chosen.at + by));
    show();
  }

  // onwards goes to the next item that has no answer yet.
  function onwards() {
    const { items, decided } = chosen;
    const open = items.findIndex((item, i) => i > chosen.at && !decided(item));
    const first = open >= 0 ? open : items.findIndex((item) => !decided(item));
    if (first >= 0) chosen.at = first;
    show();
  }

  let unbind = null;
  function show() {
    showTabs();
    if (unbind) unbind();
    unbind = null;
    if (page.element.hidden) return;
    const item = chosen.items[chosen.at];
    if (!item) {
      fill(body, chosen.failed ? state("That failed", chosen.failed) : waiting());
      return;
    }
    const list = chosen.answers(item, onwards);
    fill(body, chosen.draw(item, list, place()));
    unbind = bind(`Clean: ${chosen.title.toLowerCase()}`, [
      ...asBindings(list),
      { keys: ["ArrowRight", "n"], show: "→", text: "the next one", run: () => step(1) },
      { keys: ["ArrowLeft", "p"], show: "←", text: "the one before", run: () => step(-1) },
      { keys: ["Tab"], run: () => false },
    ]);
  }

  // place says where in the queue one is, and goes to the neighbours.
  function place() {
    const button = (text, said, by) =>
      h(
        "button.icon",
        {
          type: "button",
          title: said,
          "aria-label": said,
          onclick: () => step(by),
        },
        text,
      );
    return h(
      "div.place",
      button("‹", "The one before (←)", -1),
      h("span.note", `${count(chosen.at + 1)} of ${count(chosen.items.length)}`),
      button("›", "The next one (→)", 1),
    );
  }

  function waiting() {
    const work = (store.state.work || {})[chosen.work] || { state: "none" };
    if (!hasFeatures() && work.state !== "running") {
      return state(
        "This needs a model",
        "With features the studio finds what looks alike, and what does not belong.",
        h("a.button", { href: "#explore" }, "How to get one"),
      );
    }
    if (work.state === "running" || chosen.loading) {
      return state("Still looking", chosen.about, progress(chosen.title, work.done || 0, work.total || 0));
    }
    if (work.state === "failed") return state("That failed", work.error);
    return state(chosen.nothing, chosen.why);
  }

  const looking = (q) => ((store.state.work || {})[q.work] || {}).state === "running";

  function showTabs() {
    fill(
      tabs,
      queues.map((q) => {
        const left = q.items.filter((item) => !q.decided(item)).length;
        return h(
          "button",
          {
            type: "button",
            role: "tab",
            "aria-selected": String(q === chosen),
            onclick: () => choose(q),
            dataset: { queue: q.work },
          },
          h("span.name", q.title),
          h("span.note", q.items.length ? `${count(left)} to decide` : looking(q) ? "still looking" : "none"),
          h(
            "div.progress",
            h("i", { style: { width: `${q.items.length ? 100 - (100 * left) / q.items.length : 0}%` } }),
          ),
        );
      }),
    );
  }

  async function refresh(queue) {
    if (!isDone(queue.work)) return show();
    queue.loading = true;
    try {
      await queue.load();
      queue.failed = "";
    } catch (error) {
      queue.failed = error.status === 404 ? "" : error.message;
    }
    queue.loading = false;
    queue.at = Math.min(queue.at, Math.max(0, queue.items.length - 1));
    return queue === chosen || page.element.hidden ? show() : showTabs();
  }

  for (const event of ["labels", "names"])
    on(event, () => {
      if (!page.element.hidden) show();
    });
  on("work", (before) => {
    for (const q of queues) {
      if (isDone(q.work) && !isDone(q.work, before)) refresh(q);
    }
    if (!page.element.hidden && !chosen.items.length) show();
  });
  page.show = () => {
    show();
    queues.forEach(refresh);
  };
  page.hide = () => {
    if (unbind) unbind();
    unbind = null;
  };
  Object.assign(page, {
    targets: () => (chosen.target && chosen.items[chosen.at] ? chosen.target(chosen.items[chosen.at]) : []),
    afterLabel: onwards,
  });
  return page;
}
