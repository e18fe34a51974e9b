// Search: by name, by a picture dropped in or pasted, by more like these and less like those.

import * as api from "./api.js";
import { fill, h } from "./dom.js";
import { pictures } from "./format.js";
import { hasFeatures, store } from "./store.js";
import { toast } from "./toast.js";

const limit = 500;
const largest = 32e6; // bytes of an uploaded picture that the server takes
const pause = 180; // milliseconds after the last letter

// makeSearch shows the field and what is searched for; onResult(view) gets { title, images, scores
// } or null for all.
export function makeSearch({ onResult }) {
  const input = h("input", {
    type: "search",
    placeholder: "Search names, or drop or paste a picture",
    "aria-label": "Search",
    spellcheck: false,
  });
  const chips = h("div.chips", { "aria-label": "Searched for" });
  const file = h("input", {
    type: "file",
    accept: "image/*",
    hidden: true,
    "aria-label": "A picture to search for",
  });
  const choose = h(
    "button",
    { type: "button", title: "Search by a picture of yours", onclick: () => file.click() },
    "Picture …",
  );
  const element = h("div.search", input, choose, file, chips);
  const like = new Set();
  const unlike = new Set();
  let [timer, turn, dropped] = [0, 0, null];

  // ask keeps only the answer to the latest question.
  async function ask(title, question) {
    const mine = ++turn;
    element.classList.add("busy");
    try {
      const { images, scores } = await question();
      if (mine === turn) onResult({ title, images, scores, kind: "search" });
    } catch (error) {
      if (mine === turn) toast(error.message, { kind: "bad" });
    } finally {
      if (mine === turn) element.classList.remove("busy");
    }
  }

  function bySimilarity() {
    dropped = null;
    showChips();
    if (!like.size && !unlike.size) return byName();
    const body = { like: [...like], unlike: [...unlike], text: input.value.trim(), limit };
    const title = like.size ? `Like ${like.size === 1 ? "this" : `these ${like.size}`}` : "Unlike these";
    return ask(unlike.size && like.size ? `${title}, not like ${unlike.size} others` : title, () =>
      api.post("/api/search", body),
    );
  }

  function byName() {
    const text = input.value.trim();
    if (like.size || unlike.size) return bySimilarity();
    turn++;
    if (!text) return onResult(null);
    return ask(`Names with “${text}”`, () =>
      api.post("/api/search", { like: [], unlike: [], text, limit: store.state.count }),
    );
  }

  function byPicture(blob) {
    if (!hasFeatures() || !store.state.model) {
      return toast("Searching by a picture needs a model: start the studio with --model.", { kind: "bad" });
    }
    if (blob.size > largest) return toast("That picture is too large: 32 MB is the most.", { kind: "bad" });
    clear();
    dropped = URL.createObjectURL(blob);
    showChips();
    return ask("Like your picture", () => api.upload("/api/search/picture", blob));
  }

  function clear() {
    like.clear();
    unlike.clear();
    input.value = "";
    if (dropped) URL.revokeObjectURL(dropped);
    dropped = null;
    showChips();
  }

  function showChips() {
    const chip = (set, image, sign) =>
      h(
        "button.chip",
        {
          type: "button",
          title: "Take it out of the search",
          onclick: () => {
            set.delete(image);
            bySimilarity();
          },
        },
        h("b", sign),
        h("img", { src: api.thumb(image, 64), alt: `${sign === "+" ? "like" : "unlike"} picture ${image}` }),
        "×",
      );
    fill(
      chips,
      [...like].map((i) => chip(like, i, "+")),
      [...unlike].map((i) => chip(unlike, i, "−")),
      dropped &&
        h(
          "button.chip",
          {
            type: "button",
            title: "End this search",
            onclick: () => {
              clear();
              onResult(null);
            },
          },
          h("img", { src: dropped, alt: "your picture" }),
          "×",
        ),
    );
    chips.hidden = !chips.children.length;
  }

  function more(images, to = like) {
    if (!images.length) return toast("Choose one or more pictures first.");
    if (!hasFeatures())
      return toast("Searching by likeness needs a model: start the studio with --model.", { kind: "bad" });
    if (images.length > 50) toast(`The first 50 of ${pictures(images.length)} are searched for.`);
    const other = to === like ? unlike : like;
    for (const image of images.slice(0, 50)) {
      to.add(image);
      other.delete(image);
    }
    return bySimilarity();
  }

  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(byName, pause);
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault();
    clear();
    turn++;
    onResult(null);
    input.blur();
  });
  file.addEventListener("change", () => {
    if (file.files[0]) byPicture(file.files[0]);
    file.value = "";
  });
  showChips();
  return {
    element,
    input,
    clear,
    byPicture,
    more: (images) => more(images),
    less: (images) => more(images, unlike),
  };
}

// takePictures calls run with a picture that is dropped on the page or pasted.
export function takePictures(run) {
  const curtain = h("div.curtain", { hidden: true }, h("p", "Drop it: the studio shows what looks like it"));
  document.body.append(curtain);
  const carries = (event) => [...(event.dataTransfer ? event.dataTransfer.types : [])].includes("Files");
  let depth = 0;
  const hide = () => {
    depth = 0;
    curtain.hidden = true;
  };
  window.addEventListener("dragenter", (event) => {
    if (!carries(event)) return;
    depth++;
    curtain.hidden = false;
  });
  window.addEventListener("dragleave", () => {
    if (--depth <= 0) hide();
  });
  window.addEventListener("dragover", (event) => {
    if (carries(event)) event.preventDefault();
  });
  window.addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    hide();
    if (event.dataTransfer.files[0]) run(event.dataTransfer.files[0]);
  });
  window.addEventListener("paste", (event) => {
    const item = [...(event.clipboardData ? event.clipboardData.items : [])].find((i) =>
      i.type.startsWith("image/"),
    );
    if (item) run(item.getAsFile());
  });
}
