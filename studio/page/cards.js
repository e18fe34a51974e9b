// Pictures on the map: one for each cell of the screen when a person is near enough to tell them
// apart.

import * as api from "./api.js";

const few = 400; // so many points in view are shown as pictures at any zoom
const near = 2.6; // from this zoom on there are pictures among the points
const kept = 800; // pictures in memory
const cell = 50; // pixels a side of a cell, at least
const largest = 60; // pixels a side of a picture

// mixed gives each picture a rank that has nothing to do with its place: the lowest of a cell is
// shown.
const mixed = (i) => Math.imul(i + 1, 2654435761) >>> 0;

// covered tells whether a picture of one of the eight cells around lies over this one and comes
// first.
function covered({ i, x, y, column, row }, chosen, size) {
  for (let dx = -1; dx <= 1; dx++) {
    for (let dy = -1; dy <= 1; dy++) {
      const other = chosen.get(`${column + dx},${row + dy}`);
      if (!other || other.i === i || mixed(other.i) > mixed(i)) continue;
      if (Math.abs(other.x - x) < size && Math.abs(other.y - y) < size) return true;
    }
  }
  return false;
}

export function makeCards(redraw) {
  const images = new Map(); // the newest last
  let rgba = null;

  function imageOf(i) {
    let image = images.get(i);
    if (image) {
      images.delete(i);
    } else {
      image = new Image();
      image.decoding = "async";
      image.onload = redraw;
      image.src = api.thumb(i, 64);
    }
    images.set(i, image);
    if (images.size > kept) images.delete(images.keys().next().value);
    return image;
  }

  function draw(pen, { places, x0, y0, x1, y1, k, fit, toScreen }) {
    let inView = 0;
    places.within(x0, y0, x1, y1, () => inView++);
    if (k < near * fit && inView > few) return;
    // Cells are fixed on the map, and change at powers of two of the zoom, so that pictures do not
    // jump while one pans.
    const side = 2 ** -Math.floor(Math.log2(k / cell));
    const chosen = new Map();
    places.within(x0 - side, y0 - side, x1 + side, y1 + side, (i, x, y) => {
      const [column, row] = [Math.floor(x / side), Math.floor(y / side)];
      const at = `${column},${row}`;
      const now = chosen.get(at);
      if (now === undefined || mixed(i) < mixed(now.i)) chosen.set(at, { i, x, y, column, row });
    });
    const size = Math.min(largest, 0.8 * side * k);
    for (const one of chosen.values()) {
      if (covered(one, chosen, size / k)) continue;
      const image = imageOf(one.i);
      if (image.complete && image.naturalWidth) card(pen, image, toScreen(one.x, one.y), size, one.i);
    }
  }

  function card(pen, image, [px, py], size, i) {
    const scale = size / Math.max(image.naturalWidth, image.naturalHeight);
    const [w, h] = [image.naturalWidth * scale, image.naturalHeight * scale];
    pen.fillStyle = rgba ? `rgb(${rgba[4 * i]},${rgba[4 * i + 1]},${rgba[4 * i + 2]})` : "#888";
    pen.beginPath();
    pen.roundRect(px - w / 2 - 2, py - h / 2 - 2, w + 4, h + 4, 3);
    pen.fill();
    pen.fillStyle = "#fff"; // behind pictures with transparent parts
    pen.fillRect(px - w / 2, py - h / 2, w, h);
    pen.drawImage(image, px - w / 2, py - h / 2, w, h);
  }

  return {
    draw,
    colours(values) {
      rgba = values;
    },
  };
}
