// Elements, made and found. Properties are set as properties: the page's policy forbids style
// attributes.

export const $ = (selector, root = document) => root.querySelector(selector);

// h makes an element: h("button.primary", { onclick: f, "aria-label": "Undo" }, "Undo").
export function h(name, ...rest) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  const isProps =
    rest.length &&
    rest[0] !== null &&
    typeof rest[0] === "object" &&
    !(rest[0] instanceof Node) &&
    !Array.isArray(rest[0]);
  if (isProps) setProps(element, rest.shift());
  append(element, rest);
  return element;
}

function setProps(element, props) {
  for (const [key, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "style") Object.assign(element.style, value);
    else if (key === "dataset") Object.assign(element.dataset, value);
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.includes("-") && key !== "role" && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
}

function append(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child);
  }
}

// svg makes an SVG element.
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  append(element, children);
  return element;
}

// fill replaces the children of an element.
export function fill(element, ...children) {
  element.replaceChildren();
  append(element, children);
  return element;
}

// key shows a key of the keyboard.
export const key = (text) => h("kbd", text);

// state shows why a place is empty: nothing there yet, loading, failed. It is never just blank.
export function state(title, text, ...more) {
  return h("div.state", h("h2", title), text ? h("p", text) : null, ...more);
}

// progress shows a bar and what it counts.
export function progress(text, done, total) {
  const share = total > 0 ? done / total : 0;
  const bar = h(
    "div.progress",
    {
      role: "progressbar",
      "aria-label": text,
      "aria-valuemin": "0",
      "aria-valuemax": "100",
      "aria-valuenow": String(Math.round(100 * share)),
    },
    h("i", { style: { width: `${(100 * share).toFixed(1)}%` } }),
  );
  if (!total) bar.classList.add("unknown");
  return h("div.work", h("span", text), bar);
}

// command shows a command line with a button that copies it.
export function command(text) {
  const button = h("button.small", { type: "button", onclick: copy }, "Copy");
  async function copy() {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  }
  return h("div.command", h("code", text), button);
}
