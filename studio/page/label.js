// Label: one picture after another, those first from which the classifier learns most.

import * as api from "./api.js";
import { accept, label, undo } from "./actions.js";
import { ahead, Asking } from "./asking.js";
import { category } from "./colours.js";
import { makeBulk, makeClassifier } from "./classifier.js";
import { keyOf, makeClassField } from "./classes.js";
import { fill, h, key, state } from "./dom.js";
import { count, percent, tail } from "./format.js";
import { bind } from "./keys.js";
import { strip } from "./queue.js";
import { labelOf, nameOf, on, predictionOf, store } from "./store.js";

const largest = 16; // times that a picture is enlarged at most
const behind = 3; // pictures just labelled that are shown before the current one

export class Label {
  constructor({ onReview, onMore }) {
    Object.assign(this, { title: "Label", name: "label", onMore, asking: new Asking() });
    this.img = h("img", { alt: "", onload: () => this.limitSize() });
    this.question = h("h2.question");
    this.guess = h("p.guess");
    this.file = h("p.note.picture-name");
    this.options = h("div.options", { role: "group", "aria-label": "Classes" });
    this.row = h("div.strip", { "aria-label": "Pictures before and after" });
    this.field = makeClassField({
      targets: () => this.targets(),
      placeholder: "new class …",
      onDone: (images) => images.length && this.next(images[0]),
    });
    this.stage = h(
      "div.stage",
      ...[this.question, h("div.framed", this.img), this.file, this.guess, this.options, this.row],
    );
    this.empty = h("div.stage", { hidden: true });
    this.element = h("div.labelling", this.stage, this.empty, this.makeRail(onReview));
    this.listen();
  }

  makeRail(onReview) {
    this.progressText = h("p");
    this.bar = h("i");
    return h(
      "aside.rail",
      { "aria-label": "What was learned" },
      h("section.panel.next", this.progressText, h("div.progress", this.bar)),
      makeClassifier().element,
      makeBulk({ onReview }).element,
    );
  }

  listen() {
    const { asking } = this;
    on("classifier", () => {
      asking.refill();
      this.draw();
    });
    on("labels", () => {
      if (asking.queue.some((i) => store.label[i] >= 0)) asking.refill();
      if (asking.wasAnsweredElsewhere()) asking.next(-1);
      this.draw();
    });
    on("state", () => {
      this.drawProgress();
      this.draw();
    });
    on("names", () => this.drawName());
    on("undone", (images) => {
      if (!this.element.hidden && images.length === 1) this.backTo(images[0]);
    });
  }

  // What a person does.

  targets() {
    return this.asking.current >= 0 ? [this.asking.current] : [];
  }

  afterLabel() {}

  next(done) {
    this.asking.next(done);
    this.draw();
  }

  // give labels the picture on the screen, and goes on.
  give(className) {
    const done = this.asking.current;
    if (done < 0) return;
    label([done], className, true);
    this.next(done);
  }

  acceptGuess() {
    const done = this.asking.current;
    if (done < 0) return;
    if (store.label[done] < 0) {
      if (!predictionOf(done)) {
        this.field.input.focus();
        return;
      }
      accept([done]);
    }
    this.next(done); // one that has a label was looked at again, and left as it is
  }

  skip() {
    if (this.asking.current < 0) return;
    this.asking.skip();
    this.draw();
  }

  backTo(image) {
    this.asking.backTo(image);
    this.draw();
  }

  previous() {
    const image = this.asking.before();
    if (image !== undefined) this.backTo(image);
  }

  show() {
    this.asking.refill();
    this.draw();
    this.drawProgress();
    if (!store.names.length) this.field.input.focus();
    const isLetter = (pressed) => /^\p{L}$/u.test(pressed);
    const more = () => this.asking.current >= 0 && this.onMore(this.asking.current);
    const type = () => this.field.input.focus();
    this.unbind = bind("Label", [
      { keys: ["Enter"], text: "accept what it looks like", run: () => this.acceptGuess() },
      { keys: ["ArrowRight", " "], show: "→", text: "skip", run: () => this.skip() },
      { keys: ["ArrowLeft"], show: "←", text: "the one before", run: () => this.previous() },
      { keys: ["Backspace"], text: "take the last label back", run: undo },
      { keys: ["mod+Enter"], show: "Ctrl Enter", text: "more like this", run: more },
      { match: isLetter, show: "a … z", text: "type the name of a class", run: type },
    ]);
  }

  hide() {
    this.unbind();
  }

  // What is on the screen.

  draw() {
    if (this.element.hidden) return;
    const { current, queue, answered } = this.asking;
    this.stage.hidden = current < 0;
    this.empty.hidden = current >= 0;
    if (current < 0) {
      this.drawEmpty();
      return;
    }
    this.drawPicture(current);
    const given = labelOf(current);
    this.question.textContent = given ? `Labelled ${given}` : "What is this?";
    this.drawName();
    this.drawGuess(given);
    this.drawOptions(given);
    const before = answered.filter((i) => i !== current).slice(-behind);
    strip(this.row, [...before, current, ...queue.slice(0, ahead)], current, {
      onPick: (image) => this.backTo(image),
      source: (image) => api.thumb(image, 64),
      caption: labelOf,
    });
    for (const image of queue.slice(0, 3)) new Image().src = api.picture(image); // there when its turn comes
  }

  drawPicture(image) {
    const src = api.picture(image);
    if (this.img.getAttribute("src") === src) return;
    this.img.src = src;
    this.img.alt = `picture ${image}`;
    this.stage.dataset.image = image;
  }

  // limitSize keeps small pictures from being enlarged until nobody can tell what they are.
  limitSize() {
    const { style, naturalWidth, naturalHeight } = this.img;
    style.maxWidth = `${largest * naturalWidth}px`;
    style.maxHeight = `${largest * naturalHeight}px`;
  }

  drawName() {
    const { current } = this.asking;
    if (!this.element.hidden && current >= 0) this.file.textContent = tail(nameOf(current)) || " ";
  }

  drawGuess(given) {
    const { current } = this.asking;
    const looks = predictionOf(current);
    if (given) fill(this.guess, key("Enter"), " leaves it so");
    else if (looks) {
      const sure = store.confidence ? ` ${percent(store.confidence[current])} sure` : "";
      fill(this.guess, "Looks like ", h("b", looks), h("span.note", sure), "  ", key("Enter"), " accepts");
    } else if (store.names.length) {
      fill(this.guess, h("span.note", "Press a number, or type a new class."));
    } else {
      const ask = "Type the name of its class, for example “cat”, and press ";
      fill(this.guess, h("span.note", ask), key("Enter"));
    }
  }

  drawOptions(given) {
    const looks = given ? "" : predictionOf(this.asking.current);
    const option = (name, place) =>
      h(
        "button.option",
        {
          type: "button",
          onclick: () => this.give(name),
          dataset: { class: name },
          "aria-pressed": String(name === given),
          "data-guess": name === looks,
        },
        keyOf(place) ? key(keyOf(place)) : null,
        h("i.swatch", { style: { background: category(place) } }),
        name,
      );
    const skip = { type: "button", onclick: () => this.skip() };
    fill(
      this.options,
      store.names.map(option),
      this.field.element,
      h("button.option.quiet", skip, key("→"), "Skip"),
    );
    this.field.input.placeholder = store.names.length ? "new class …" : "What is it? Type and Enter";
    this.field.element.classList.toggle("first", !store.names.length);
  }

  drawEmpty() {
    if (!store.classifier) fill(this.empty, state("Choosing the first pictures …"));
    else if (store.state.labelled >= store.state.count) fill(this.empty, finished());
    else {
      const again = () => {
        this.asking.skipped.clear();
        this.next(-1);
      };
      const skipped = `${count(this.asking.skipped.size)} were skipped.`;
      const button = h("button.primary", { type: "button", onclick: again }, "Ask about them again");
      fill(this.empty, state("Nothing left in the queue", skipped, button));
    }
  }

  drawProgress() {
    const { labelled, count: n } = store.state;
    fill(this.progressText, h("b", count(labelled)), ` of ${count(n)} labelled`);
    this.bar.style.width = `${(100 * labelled) / Math.max(1, n)}%`;
  }
}

function finished() {
  return state(
    "Every picture has a label",
    "Take them with you, or look through them once more.",
    h("a.button.primary", { href: "#export" }, "Export"),
    h("a.button", { href: "#explore" }, "Explore"),
  );
}
