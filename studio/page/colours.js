// Colours of classes and of numbers, in light and dark.

const light = [
  "#0072b2",
  "#d55e00",
  "#009e73",
  "#aa4488",
  "#b87d00",
  "#3a94cb",
  "#6a51a3",
  "#c2185b",
  "#5b8c00",
  "#795548",
  "#00838f",
  "#e53935",
  "#3949ab",
  "#8d6e00",
  "#ad1457",
  "#2e7d32",
  "#546e7a",
  "#f4511e",
  "#00695c",
  "#7b1fa2",
];
const dark = [
  "#58b4f0",
  "#ff8b45",
  "#36c79b",
  "#d98bbf",
  "#f0b83a",
  "#9ad4f5",
  "#a996e6",
  "#ff6f9c",
  "#a5d447",
  "#c29a8a",
  "#4dd0e1",
  "#ff7b72",
  "#8c9eff",
  "#d6bf4a",
  "#f48fb1",
  "#7ed17e",
  "#a9bcc6",
  "#ffab8f",
  "#58c4b4",
  "#ce93f0",
];
const scaleLight = ["#d9e2ec", "#8fbfd9", "#3a94cb", "#17639a", "#0b2f52"];
const scaleDark = ["#2b3440", "#2f5f86", "#3a94cb", "#8ccdf2", "#e8f6ff"];

const query = window.matchMedia("(prefers-color-scheme: dark)");
export const isDark = () => query.matches;
export const onScheme = (run) => query.addEventListener("change", run);

// category gives the colour of a category by its place in the list.
export function category(index) {
  const palette = isDark() ? dark : light;
  if (index < palette.length) return palette[index];
  const hue = Math.round((index * 137.508) % 360); // the golden angle keeps any number of hues apart
  return hslToHex(hue, 0.55, isDark() ? 0.68 : 0.42);
}

export const none = () => (isDark() ? "#4a5059" : "#c3c8ce");
export const scaleStops = () => (isDark() ? scaleDark : scaleLight);

// number gives the colour of a share in [0, 1].
export function number(share) {
  const stops = scaleStops();
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  const [a, b] = [rgb(stops[low]), rgb(stops[low + 1])];
  return a.map((v, i) => Math.round(v + (b[i] - v) * (place - low)));
}

export const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

function hslToHex(hue, saturation, lightness) {
  const chroma = saturation * Math.min(lightness, 1 - lightness);
  const part = (n) => {
    const k = (n + hue / 30) % 12;
    const value = lightness - chroma * Math.max(-1, Math.min(k - 3, 9 - k, 1));
    return Math.round(255 * value)
      .toString(16)
      .padStart(2, "0");
  };
  return `#${part(0)}${part(8)}${part(4)}`;
}
