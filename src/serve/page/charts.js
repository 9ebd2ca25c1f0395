// Charts on canvas: redrawn once a second at most, sized to the screen's own pixels.
import { duration, short } from "./words.js";

function begin(canvas) {
  const ratio = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (width === 0) return null;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  pen.lineJoin = "round";
  return { pen, width, height };
}

// More points of a course are seen as a line.
const DOTS_MAX = 40;

let cached = { theme: null, colours: {} };

// The page's colours, read again only when the theme changes.
export function colours() {
  const dark = window.matchMedia("(prefers-color-scheme: dark)").matches;
  const theme = `${document.documentElement.dataset.theme ?? ""}${dark}`;
  if (cached.theme !== theme) {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(`--${name}`).trim();
    const names = ["text", "quiet", "line", "accent", "second", "bad", "bar"];
    cached = { theme, colours: Object.fromEntries(names.map((name) => [name, of(name)])) };
  }
  return cached.colours;
}

function line(pen, points, colour, width = 1.6) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  let down = false;
  for (const [x, y] of points) {
    if (Number.isNaN(y)) {
      down = false;
      continue;
    }
    if (down) pen.lineTo(x, y);
    else pen.moveTo(x, y);
    down = true;
  }
  pen.stroke();
}

function dots(pen, points, colour) {
  pen.fillStyle = colour;
  for (const [x, y] of points) {
    pen.beginPath();
    pen.arc(x, y, 2.2, 0, 7);
    pen.fill();
  }
}

// `history`: {at, p50, p99} in ms and µs, the oldest first; durations on a logarithmic scale. Whether the
// budget is in the picture.
export function latencyOverTime(canvas, history, span_s, budget_us) {
  const sheet = begin(canvas);
  if (!sheet) return;
  const { pen, width, height } = sheet;
  const ink = colours();
  const values = history.flatMap((point) => [point.p50, point.p99]).filter((value) => value > 0);
  const low = Math.max(1, Math.min(100, ...values)) * 0.7;
  const high = Math.max(10000, ...values) * 1.5;
  const left = 52;
  const bottom = height - 16;
  const y = (us) => (us > 0 ? bottom - (Math.log(us / low) / Math.log(high / low)) * (bottom - 6) : NaN);
  pen.fillStyle = ink.quiet;
  pen.strokeStyle = ink.line;
  pen.lineWidth = 1;
  for (let power = Math.ceil(Math.log10(low)); 10 ** power <= high; power++) {
    const at = y(10 ** power);
    pen.beginPath();
    pen.moveTo(left, at);
    pen.lineTo(width, at);
    pen.stroke();
    pen.fillText(duration(10 ** power), 2, at + 4);
  }
  const end = history.length ? history[history.length - 1].at : 0;
  const x = (at) => width - 4 - ((end - at) / (span_s * 1000)) * (width - left - 4);
  for (let minute = 1; minute * 60 < span_s; minute++) {
    pen.fillText(`−${minute} min`, x(end - minute * 60000) - 16, height - 3);
  }
  const within = budget_us > low && budget_us < high;
  if (within) line(pen, [[left, y(budget_us)], [width, y(budget_us)]], ink.bad, 1);
  // Where bars close once a minute most looks see none: what is known is joined, and seen where it stands alone.
  for (const [name, colour] of [["p99", ink.second], ["p50", ink.accent]]) {
    const known = history.filter((point) => point[name] > 0).map((point) => [x(point.at), y(point[name])]);
    line(pen, known, colour);
    if (known.length <= DOTS_MAX) dots(pen, known, colour);
  }
  return within;
}

// A stage's rate, look by look, filled down to zero: how busy it is against its own last minutes.
export function course(canvas, rates, most) {
  const sheet = begin(canvas);
  if (!sheet) return;
  const { pen, width, height } = sheet;
  const ink = colours();
  const high = Math.max(1, ...rates.filter(Number.isFinite));
  const x = (i) => width - ((rates.length - 1 - i) / (most - 1)) * width;
  const y = (value) => height - 1 - (value / high) * (height - 3);
  const points = rates.flatMap((value, i) => (Number.isFinite(value) ? [[x(i), y(value)]] : []));
  if (points.length < 2) return;
  pen.fillStyle = ink.bar;
  pen.globalAlpha = 0.35;
  pen.beginPath();
  pen.moveTo(points[0][0], height);
  for (const [at, tall] of points) pen.lineTo(at, tall);
  pen.lineTo(points[points.length - 1][0], height);
  pen.fill();
  pen.globalAlpha = 1;
  line(pen, points, ink.accent, 1.3);
}

// Bars a bucket, from the first to the last that holds anything.
export function spread(canvas, bounds, counts, marks) {
  const sheet = begin(canvas);
  if (!sheet) return;
  const { pen, width, height } = sheet;
  const ink = colours();
  const used = counts.flatMap((count, i) => (count > 0 ? [i] : []));
  if (!used.length) return;
  const first = Math.max(0, used[0] - 1);
  const last = Math.min(counts.length - 1, used[used.length - 1] + 1);
  const most = Math.max(...counts);
  const bottom = height - 16;
  const step = width / (last - first + 1);
  pen.fillStyle = ink.bar;
  for (let i = first; i <= last; i++) {
    const tall = (counts[i] / most) * (bottom - 18);
    pen.fillRect((i - first) * step + 0.5, bottom - tall, Math.max(1, step - 1), tall);
  }
  pen.fillStyle = ink.quiet;
  const every = Math.ceil(72 / step);
  for (let i = first; i < last; i += every) {
    const text = duration(bounds[Math.min(i, bounds.length - 1)]);
    const at = (i - first + 1) * step - 14;
    pen.fillText(text, Math.max(0, Math.min(at, width - pen.measureText(text).width)), height - 3);
  }
  for (const { us, colour, name } of marks) {
    const i = bounds.findIndex((bound) => us <= bound);
    if (i < first || Number.isNaN(us)) continue;
    const low = i === 0 ? 0 : bounds[i - 1];
    const at = (i - first + (us - low) / (bounds[i] - low)) * step;
    line(pen, [[at, 14], [at, bottom]], ink[colour], 1.5);
    pen.fillStyle = ink[colour];
    pen.fillText(name, Math.min(at + 3, width - 26), 12);
  }
  pen.fillStyle = ink.quiet;
  pen.fillText(`${short(most)}`, 2, 12);
}

// A series: its closes, and below them each horizon's newest prediction as a step around its own middle.
export function price(canvas, points) {
  const sheet = begin(canvas);
  if (!sheet) return;
  const { pen, width, height } = sheet;
  const ink = colours();
  const scale = (values, top, bottom) => {
    const finite = values.filter(Number.isFinite);
    const low = Math.min(...finite);
    const high = Math.max(...finite);
    const size = high - low || Math.abs(high) || 1;
    return (value) => (Number.isFinite(value) ? bottom - ((value - low) / size) * (bottom - top) : NaN);
  };
  if (!points.length) return;
  const x = (i) => (points.length === 1 ? width / 2 : 2 + (i / (points.length - 1)) * (width - 4));
  const closes = scale(points.map((point) => point.close), 3, height * 0.62);
  const values = scale(points.map((point) => point.value), height * 0.7, height - 3);
  line(pen, points.map((point, i) => [x(i), closes(point.close)]), ink.text, 1.4);
  line(pen, points.map((point, i) => [x(i), values(point.value)]), ink.second, 1.4);
  const end = points.length - 1;
  pen.fillStyle = ink.second;
  pen.beginPath();
  pen.arc(x(end), values(points[end].value), 2.4, 0, 7);
  pen.fill();
}
