// Label: one picture after another, those first from which the classifier learns most.

import * as api from "./api.js";
import { accept, label, undo } from "./actions.js";
import { category } from "./colours.js";
import { makeBulk, makeClassifier } from "./classifier.js";
import { keyOf, makeClassField } from "./classes.js";
import { fill, h, key, state } from "./dom.js";
import { follow } from "./events.js";
import { count, percent, tail } from "./format.js";
import { bind } from "./keys.js";
import { strip } from "./queue.js";
import { labelOf, nameOf, on, predictionOf, store } from "./store.js";

const ahead = 9; // pictures of the strip that come next
const behind = 3; // and those just labelled

export function makeLabel({ onReview, onMore }) {
  const page = { title: "Label", name: "label" };
  let [queue, current, answered] = [[], -1, []];
  let asking = true; // the current picture had no label when it was shown
  const skipped = new Set();

  const img = h("img", { alt: "" });
  const question = h("h2.question");
  const guess = h("p.guess");
  const name = h("p.note.picture-name");
  const options = h("div.options", { role: "group", "aria-label": "Classes" });
  const row = h("div.strip", { "aria-label": "Pictures before and after" });
  const targets = () => (current >= 0 ? [current] : []);
  const field = makeClassField({
    targets,
    placeholder: "new class …",
    onDone: (images) => images.length && next(images[0]),
  });
  const stage = h("div.stage", question, h("div.framed", img), name, guess, options, row);
  const empty = h("div.stage", { hidden: true });
  const progressText = h("p");
  const bar = h("div.progress", h("i"));
  const rail = h(
    "aside.rail",
    { "aria-label": "What was learned" },
    h("section.panel.next", progressText, bar),
    makeClassifier().element,
    makeBulk({ onReview }).element,
  );
  page.element = h("div.labelling", stage, empty, rail);

  // refill takes the classifier's newest wishes; what is on the screen stays.
  function refill() {
    if (!store.classifier) return; // its wishes come in a moment
    const wishes = store.classifier.next || [];
    queue = wishes.filter((i) => i !== current && store.label[i] < 0 && !skipped.has(i));
    if (queue.length < ahead) {
      const known = new Set(queue);
      for (let i = 0; i < store.label.length && queue.length < ahead; i++) {
        if (store.label[i] < 0 && i !== current && !skipped.has(i) && !known.has(i)) queue.push(i);
      }
    }
    const stale = store.classifier.version !== store.state.version;
    if (stale && queue.length < 2 * ahead) follow(); // soon nothing is left that the classifier chose
    if (current < 0 && queue.length) [current, asking] = [queue.shift(), true];
  }

  // next goes on to the picture after the one that was done; -1 leaves the current one without an
  // answer.
  function next(done) {
    if (done >= 0) answered = [...answered.filter((i) => i !== done), done].slice(-50);
    if (done < 0 || current === done) current = -1;
    refill();
    show();
  }

  function give(className) {
    if (current < 0) return;
    const done = current;
    label([done], className, true);
    next(done);
  }

  function acceptGuess() {
    if (current < 0) return false;
    if (store.label[current] >= 0) return next(current); // seen again and left as it is
    if (!predictionOf(current)) return field.input.focus();
    const done = current;
    accept([done]);
    return next(done);
  }

  function skip() {
    if (current < 0) return;
    skipped.add(current);
    next(-1);
  }

  function backTo(image) {
    if (current >= 0 && current !== image && store.label[current] < 0) queue.unshift(current);
    [current, asking] = [image, store.label[image] < 0];
    queue = queue.filter((i) => i !== image);
    show();
  }

  function previous() {
    const at = answered.indexOf(current);
    const image = at > 0 ? answered[at - 1] : at < 0 ? answered[answered.length - 1] : undefined;
    if (image !== undefined) backTo(image);
  }

  function show() {
    stage.hidden = current < 0;
    empty.hidden = current >= 0;
    if (current < 0) return showEmpty();
    const src = api.picture(current);
    if (img.getAttribute("src") !== src) {
      img.src = src;
      stage.dataset.image = current;
    }
    img.alt = `picture ${current}`;
    const given = labelOf(current);
    question.textContent = given ? `Labelled ${given}` : "What is this?";
    name.textContent = tail(nameOf(current)) || " ";
    showGuess(given);
    showOptions(given);
    const before = answered.filter((i) => i !== current).slice(-behind);
    strip(row, [...before, current, ...queue.slice(0, ahead)], current, {
      onPick: backTo,
      source: (i) => api.thumb(i, 64),
      caption: (i) => labelOf(i),
    });
    for (const i of queue.slice(0, 3)) new Image().src = api.picture(i); // so that it is there when it is its turn
    return undefined;
  }

  function showGuess(given) {
    const looks = predictionOf(current);
    if (given) fill(guess, key("Enter"), " leaves it so");
    else if (looks) {
      const sure = store.confidence ? store.confidence[current] : NaN;
      fill(
        guess,
        "Looks like ",
        h("b", looks),
        h("span.note", ` ${percent(sure)} sure`),
        "  ",
        key("Enter"),
        " accepts",
      );
    } else if (store.names.length) fill(guess, h("span.note", "Press a number, or type a new class."));
    else fill(guess, h("span.note", "Type the name of its class, for example “cat”, and press "), key("Enter"));
  }

  function showOptions(given) {
    const looks = predictionOf(current);
    fill(
      options,
      store.names.map((one, place) =>
        h(
          "button.option",
          {
            type: "button",
            onclick: () => give(one),
            dataset: { class: one },
            "aria-pressed": String(one === given),
            ...(one === looks && !given ? { "data-guess": true } : {}),
          },
          keyOf(place) ? key(keyOf(place)) : null,
          h("i.swatch", { style: { background: category(place) } }),
          one,
        ),
      ),
      field.element,
      h("button.option.quiet", { type: "button", onclick: skip }, key("→"), "Skip"),
    );
    field.input.placeholder = store.names.length ? "new class …" : "What is it? Type and Enter";
    field.element.classList.toggle("first", !store.names.length);
  }

  function showEmpty() {
    const all = store.state.labelled >= store.state.count;
    if (!store.classifier) fill(empty, state("Choosing the first pictures …"));
    else
      fill(
        empty,
        all
          ? state(
              "Every picture has a label",
              "Take them with you, or look through them once more.",
              h("a.button.primary", { href: "#export" }, "Export"),
              h("a.button", { href: "#explore" }, "Explore"),
            )
          : state(
              "Nothing left in the queue",
              `${count(skipped.size)} were skipped.`,
              h(
                "button.primary",
                {
                  type: "button",
                  onclick: () => {
                    skipped.clear();
                    next(-1);
                  },
                },
                "Ask about them again",
              ),
            ),
      );
  }

  function showProgress() {
    const { labelled, count: n } = store.state;
    fill(progressText, h("b", count(labelled)), ` of ${count(n)} labelled`);
    bar.firstChild.style.width = `${(100 * labelled) / Math.max(1, n)}%`;
  }

  const visible = () => !page.element.hidden;
  on("classifier", () => {
    refill();
    if (visible()) show();
  });
  on("labels", () => {
    if (queue.some((i) => store.label[i] >= 0)) refill();
    const answeredElsewhere = current >= 0 && asking && store.label[current] >= 0;
    if (answeredElsewhere) next(-1);
    else if (visible()) show();
  });
  on("state", () => {
    showProgress();
    if (visible()) show();
  });
  on("names", () => {
    if (visible() && current >= 0) name.textContent = tail(nameOf(current)) || " ";
  });
  on("undone", (images) => {
    if (visible() && images.length === 1) backTo(images[0]);
  });

  let unbind = null;
  page.show = () => {
    refill();
    show();
    showProgress();
    if (!store.names.length) field.input.focus();
    unbind = bind("Label", [
      { keys: ["Enter"], text: "accept what it looks like", run: acceptGuess },
      { keys: ["ArrowRight", " "], show: "→", text: "skip", run: skip },
      { keys: ["ArrowLeft"], show: "←", text: "the one before", run: previous },
      { keys: ["Backspace"], text: "take the last label back", run: undo },
      {
        keys: ["mod+Enter"],
        show: "Ctrl Enter",
        text: "more like this",
        run: () => current >= 0 && onMore(current),
      },
      {
        match: (pressed) => /^\p{L}$/u.test(pressed),
        show: "a … z",
        text: "type the name of a class",
        run: () => field.input.focus(),
      },
    ]);
  };
  page.hide = () => unbind && unbind();
  Object.assign(page, { targets, field, give, afterLabel: () => {}, labelKey: give });
  return page;
}
