// Which picture is asked about, which come next, and which were answered: the queue of the page Label.

import { follow } from "./events.js";
import { store } from "./store.js";

export const ahead = 9; // pictures that are known to come next, at least
const remembered = 50; // answered pictures that one can go back to

const isOpen = (image) => store.label[image] < 0;

export class Asking {
  constructor() {
    this.queue = [];
    this.current = -1; // the picture on the screen; -1: none
    this.wasOpen = true; // it had no label when it came
    this.answered = [];
    this.skipped = new Set();
  }

  // refill takes the classifier's newest wishes; what is on the screen stays.
  refill() {
    const { classifier, state } = store;
    if (!classifier) return; // its wishes come in a moment
    const may = (image) => image !== this.current && isOpen(image) && !this.skipped.has(image);
    this.queue = (classifier.next || []).filter(may);
    if (this.queue.length < 2 * ahead && classifier.version !== state.version) follow(); // it has newer ones
    this.pad(may);
    if (this.current < 0 && this.queue.length) this.ask(this.queue.shift());
  }

  // pad adds pictures in their order where the classifier wishes for too few.
  pad(may) {
    const known = new Set(this.queue);
    for (let image = 0; image < store.label.length && this.queue.length < ahead; image++) {
      if (may(image) && !known.has(image)) this.queue.push(image);
    }
  }

  ask(image) {
    this.current = image;
    this.wasOpen = isOpen(image);
  }

  // next goes on after the picture that was done; -1 leaves the current one without an answer.
  next(done) {
    if (done >= 0) this.answered = [...this.answered.filter((i) => i !== done), done].slice(-remembered);
    if (done < 0 || this.current === done) this.current = -1;
    this.refill();
  }

  skip() {
    this.skipped.add(this.current);
    this.next(-1);
  }

  backTo(image) {
    const { current } = this;
    if (current >= 0 && current !== image && isOpen(current)) this.queue.unshift(current);
    this.queue = this.queue.filter((i) => i !== image);
    this.ask(image);
  }

  // before gives the picture that was answered before the current one; undefined: none.
  before() {
    const at = this.answered.indexOf(this.current);
    return at < 0 ? this.answered[this.answered.length - 1] : this.answered[at - 1];
  }

  // wasAnsweredElsewhere tells whether somebody else has labelled what is on the screen.
  wasAnsweredElsewhere() {
    return this.current >= 0 && this.wasOpen && !isOpen(this.current);
  }
}
