// Drawing many points: WebGL where there is one, squares on a 2-D canvas elsewhere.

const vertex = `#version 300 es
in vec2 place; in vec4 colour; in float size;
uniform vec2 centre; uniform vec2 scale; uniform float ratio;
out vec4 tint;
void main() {
  gl_Position = vec4((place - centre) * scale, 0.0, 1.0);
  gl_PointSize = size * ratio + 1.0;
  tint = colour;
}`;
const fragment = `#version 300 es
precision mediump float;
in vec4 tint; out vec4 colour;
void main() {
  float distance = length(gl_PointCoord - 0.5) * 2.0;
  float edge = fwidth(distance);
  float cover = 1.0 - smoothstep(1.0 - edge * 1.5, 1.0, distance);
  if (cover <= 0.0) discard;
  colour = vec4(tint.rgb * tint.a * cover, tint.a * cover);
}`;

// makePoints returns what draws: places([x, y, ...]), colours(RGBA bytes, sizes, order),
// draw(view).
export function makePoints(canvas) {
  const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
  return gl ? withWebGL(gl, canvas) : withCanvas(canvas);
}

function withWebGL(gl, canvas) {
  let ready = null;
  const kept = { places: null, colours: null };
  const setUp = () => {
    ready = program(gl);
    if (kept.places) api.places(kept.places);
    if (kept.colours) api.colours(...kept.colours);
  };
  const api = {
    kind: "webgl",
    places(xy) {
      kept.places = xy;
      upload(gl, ready.place, xy);
    },
    colours(rgba, sizes, order) {
      kept.colours = [rgba, sizes, order];
      upload(gl, ready.colour, rgba);
      upload(gl, ready.size, sizes);
      gl.bindBuffer(gl.ELEMENT_ARRAY_BUFFER, ready.order);
      gl.bufferData(gl.ELEMENT_ARRAY_BUFFER, order, gl.DYNAMIC_DRAW);
    },
    draw(view) {
      if (!kept.colours || gl.isContextLost()) return;
      const { x, y, k, width, height, ratio, grow } = view;
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(ready.centre, x, y);
      gl.uniform2f(ready.scale, (2 * k) / width, (-2 * k) / height);
      gl.uniform1f(ready.ratio, ratio * grow);
      gl.drawElements(gl.POINTS, kept.colours[2].length, gl.UNSIGNED_INT, 0);
    },
  };
  canvas.addEventListener("webglcontextlost", (event) => event.preventDefault());
  canvas.addEventListener("webglcontextrestored", setUp);
  setUp();
  return api;
}

function upload(gl, buffer, values) {
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.bufferData(gl.ARRAY_BUFFER, values, gl.DYNAMIC_DRAW);
}

function program(gl) {
  const made = gl.createProgram();
  for (const [kind, text] of [
    [gl.VERTEX_SHADER, vertex],
    [gl.FRAGMENT_SHADER, fragment],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, text);
    gl.compileShader(shader);
    gl.attachShader(made, shader);
  }
  gl.linkProgram(made);
  gl.useProgram(made);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  const attribute = (name, size, type, normalized) => {
    const buffer = gl.createBuffer();
    const at = gl.getAttribLocation(made, name);
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.enableVertexAttribArray(at);
    gl.vertexAttribPointer(at, size, type, normalized, 0, 0);
    return buffer;
  };
  return {
    place: attribute("place", 2, gl.FLOAT, false),
    colour: attribute("colour", 4, gl.UNSIGNED_BYTE, true),
    size: attribute("size", 1, gl.UNSIGNED_BYTE, false),
    order: gl.createBuffer(),
    centre: gl.getUniformLocation(made, "centre"),
    scale: gl.getUniformLocation(made, "scale"),
    ratio: gl.getUniformLocation(made, "ratio"),
  };
}

function withCanvas(canvas) {
  const context = canvas.getContext("2d");
  let xy = null;
  let drawn = null;
  return {
    kind: "2d",
    places(values) {
      xy = values;
    },
    colours(rgba, sizes, order) {
      drawn = { rgba, sizes, order };
    },
    draw({ x, y, k, width, height, ratio, grow }) {
      if (!drawn) return;
      context.setTransform(ratio, 0, 0, ratio, 0, 0);
      context.clearRect(0, 0, width, height);
      const { rgba, sizes, order } = drawn;
      let now = "";
      for (const i of order) {
        const px = (xy[2 * i] - x) * k + width / 2;
        const py = (xy[2 * i + 1] - y) * k + height / 2;
        if (px < 0 || py < 0 || px > width || py > height) continue;
        const c = `rgba(${rgba[4 * i]},${rgba[4 * i + 1]},${rgba[4 * i + 2]},${rgba[4 * i + 3] / 255})`;
        if (c !== now) context.fillStyle = now = c;
        const side = Math.max(1.5, sizes[i] * grow * 0.85);
        context.fillRect(px - side / 2, py - side / 2, side, side);
      }
    },
  };
}
