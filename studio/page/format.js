// Numbers and names as people read them.

const whole = new Intl.NumberFormat("en-US");

export const count = (n) => whole.format(n);
export const pictures = (n) => (n === 1 ? "1 picture" : `${count(n)} pictures`);
export const percent = (share, digits = 0) => (Number.isFinite(share) ? `${(100 * share).toFixed(digits)}%` : "–");

// bytes: 1,234,567 -> "1.2 MB".
export function bytes(n) {
  if (n < 1000) return `${n} bytes`;
  const units = ["kB", "MB", "GB"];
  let value = n / 1000;
  let unit = 0;
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${value.toPrecision(value < 10 ? 2 : 3)} ${units[unit]}`;
}

// duration: 3725 s -> "1 h 2 min".
export function duration(seconds) {
  if (!Number.isFinite(seconds) || seconds < 0) return "–";
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

// tail is the part of a path that tells pictures apart.
export const tail = (name) => name.slice(name.lastIndexOf("/") + 1);
