// Where the points are: what lies near a place, inside of a rectangle or a lasso.

const cells = 256; // a side

// makePlaces sorts points in [0, 1] x [0, 1] into cells.
export function makePlaces(xy) {
  const n = xy.length / 2;
  const cellOf = (v) => Math.min(cells - 1, Math.max(0, Math.floor(v * cells)));
  const start = new Uint32Array(cells * cells + 1);
  const at = new Uint32Array(n);
  for (let i = 0; i < n; i++) {
    at[i] = cellOf(xy[2 * i + 1]) * cells + cellOf(xy[2 * i]);
    start[at[i] + 1]++;
  }
  for (let c = 0; c < cells * cells; c++) start[c + 1] += start[c];
  const sorted = new Uint32Array(n);
  const next = start.slice();
  for (let i = 0; i < n; i++) sorted[next[at[i]]++] = i;

  // within calls visit for each point of a rectangle.
  function within(x0, y0, x1, y1, visit) {
    const [c0, c1, r0, r1] = [cellOf(x0), cellOf(x1), cellOf(y0), cellOf(y1)];
    for (let r = r0; r <= r1; r++) {
      for (let s = start[r * cells + c0]; s < start[r * cells + c1 + 1]; s++) {
        const i = sorted[s];
        const [px, py] = [xy[2 * i], xy[2 * i + 1]];
        if (px >= x0 && px <= x1 && py >= y0 && py <= y1) visit(i, px, py);
      }
    }
  }

  function nearest(x, y, radius) {
    let [best, distance] = [-1, radius * radius];
    within(x - radius, y - radius, x + radius, y + radius, (i, px, py) => {
      const d = (px - x) ** 2 + (py - y) ** 2;
      if (d < distance) [best, distance] = [i, d];
    });
    return best;
  }

  function inside(polygon) {
    const found = [];
    const xs = polygon.map((p) => p[0]);
    const ys = polygon.map((p) => p[1]);
    within(Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys), (i, px, py) => {
      if (holds(polygon, px, py)) found.push(i);
    });
    return found.sort((a, b) => a - b);
  }

  return { within, nearest, inside };
}

// holds tells whether a polygon holds a point: an odd number of its sides lies to the right.
export function holds(polygon, x, y) {
  let odd = false;
  for (let a = 0, b = polygon.length - 1; a < polygon.length; b = a++) {
    const [[ax, ay], [bx, by]] = [polygon[a], polygon[b]];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}
