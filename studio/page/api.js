// Questions to the studio's server. Everything goes to the page's own origin.

export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function ask(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The studio does not answer.", 0);
  }
  if (response.ok) return response;
  let message = `The studio answered ${response.status}.`;
  try {
    message = (await response.json()).error || message;
  } catch {
    /* an answer without a sentence keeps the general one */
  }
  throw new ApiError(message, response.status);
}

export const get = async (path, signal) => (await ask(path, { signal })).json();

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await ask(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

export async function upload(path, blob) {
  const headers = { "Content-Type": "application/octet-stream" };
  return (await ask(path, { method: "POST", headers, body: blob })).json();
}

// layout gives x, y pairs in [0, 1], or null while there is no map.
export async function layout() {
  try {
    return new Float32Array(await (await ask("/api/layout")).arrayBuffer());
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
}

// column gives one number a picture: { kind, names, values }, or null while there is none.
export async function column(name) {
  let response;
  try {
    response = await ask(`/api/column/${name}`);
  } catch (error) {
    if (error.status === 404) return null;
    throw error;
  }
  const kind = response.headers.get("X-Kind");
  const buffer = await response.arrayBuffer();
  if (kind === "number") return { kind, names: [], values: new Float32Array(buffer) };
  const names = JSON.parse(decodeURIComponent(response.headers.get("X-Categories") || "%5B%5D")) || [];
  return { kind, names, values: new Int32Array(buffer) };
}

let epoch = "";
export function setEpoch(value) {
  epoch = value;
}

// The epoch in an address keeps pictures of another set, once at this address, out of the browser's
// cache.
export function thumb(image, side) {
  const pixels = side * Math.min(2, window.devicePixelRatio || 1);
  const size = pixels <= 64 ? 64 : pixels <= 128 ? 128 : 256;
  return `/thumb/${image}?s=${size}&e=${epoch}`;
}
export const picture = (image) => `/picture/${image}?e=${epoch}`;
