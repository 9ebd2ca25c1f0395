// The four stages, and what hurts in them.
import { course } from "./charts.js";
import { difference, quantile, rate } from "./interval.js";
import { byId, duration, make, put, short } from "./words.js";

// Looks that the course of a stage's rate goes back.
const COURSE = 120;
// More workers are told by their number alone.
const DOTS_MAX = 16;
const WAITS = "waits for ";

export class Pipeline {
  constructor() {
    this.place = byId("pipeline");
    this.stages = new Map();
  }

  build(order) {
    this.place.replaceChildren();
    this.stages.clear();
    for (const name of order) this.stages.set(name, this.stage(name));
  }

  stage(name) {
    const part = { rates: [] };
    part.rate = make("span", { class: "rate", text: "–" });
    part.canvas = make("canvas", { role: "img", "aria-label": `${name}: items a second, the last two minutes` });
    part.fill = make("div", { class: "fill" });
    part.waiting = make("span", { text: "–" });
    part.dots = make("div", { class: "dots" });
    part.workers = make("span", { text: "–" });
    const row = (label, middle, value) => make("div", { class: "row" }, make("span", { class: "name", text: label }), middle, value);
    const cell = () => make("td", { class: "n", text: "–" });
    part.wait = [cell(), cell()];
    part.work = [cell(), cell()];
    const line = (label, cells) => make("tr", {}, make("th", { scope: "row", text: label }), ...cells);
    const head = make("tr", {}, make("td"), ...["p50", "p99"].map((text) => make("th", { scope: "col", class: "n", text })));
    const times = make("table", { "aria-label": `${name}: times` }, make("thead", {}, head), make("tbody", {}, line("wait", part.wait), line("work", part.work)));
    part.hurts = make("p", { class: "hurts" });
    const title = make("h3", {}, make("span", { text: name }), part.rate);
    const rows = [row("queue", make("div", { class: "track" }, part.fill), part.waiting), row("workers", part.dots, part.workers)];
    part.node = make("li", { class: "stage" }, title, part.canvas, ...rows, times, part.hurts);
    this.place.append(part.node);
    return part;
  }

  // Compares `now` with `before`, which is `seconds` older; returns what hurts, for the summary above.
  update(now, before, seconds, budget_ms) {
    const order = now.stage_order;
    if ([...this.stages.keys()].join() !== order.join()) this.build(order);
    const bounds = now.bucket_bounds_us;
    // Of full stages the last is the one that the others wait for.
    const narrow = order.filter((name) => isFull(now.stages[name])).at(-1);
    const found = [];
    for (const name of order) {
      const stage = now.stages[name];
      const old = before?.stages[name];
      const part = this.stages.get(name);
      const waits = difference(stage.queue_wait_buckets, old?.queue_wait_buckets);
      const works = difference(stage.service_buckets, old?.service_buckets);
      const handled = rate(stage.items, old?.items, seconds);
      part.rates.push(handled);
      if (part.rates.length > COURSE) part.rates.shift();
      course(part.canvas, part.rates, COURSE);
      put(part.rate, Number.isNaN(handled) ? "–" : `${short(handled)}/s`);
      put(part.waiting, stage.items_max ? `${short(stage.depth)} of ${short(stage.items_max)}` : short(stage.depth));
      part.fill.style.width = stage.items_max ? `${Math.min(100, (100 * stage.depth) / stage.items_max).toFixed(1)}%` : "0";
      put(part.workers, stage.workers_max ? `${stage.workers} of ${stage.workers_max}` : String(stage.workers));
      dots(part.dots, stage.workers, stage.workers_max ?? 0);
      const p99 = quantile(bounds, waits, 0.99);
      put(part.wait[0], duration(quantile(bounds, waits, 0.5)));
      put(part.wait[1], duration(p99));
      put(part.work[0], duration(quantile(bounds, works, 0.5)));
      put(part.work[1], duration(quantile(bounds, works, 0.99)));
      const [level, why] = judge(stage, old, handled, p99, budget_ms, name === narrow ? "" : narrow);
      part.node.className = `stage ${level}`;
      part.hurts.className = `hurts ${level}`;
      put(part.hurts, why);
      if (level && !why.startsWith(WAITS)) found.push({ level, text: `${name}: ${why}` });
    }
    return found;
  }
}

function dots(place, workers, most) {
  const shown = most <= DOTS_MAX ? most : 0;
  while (place.children.length < shown) place.append(make("i"));
  while (place.children.length > shown) place.lastChild.remove();
  [...place.children].forEach((dot, at) => dot.classList.toggle("on", at < workers));
}

const isFull = (stage) => stage.items_max > 0 && stage.depth >= 0.9 * stage.items_max;

// `narrow`: the stage behind it that is full, where there is one.
function judge(stage, old, handled, wait_p99_us, budget_ms, narrow) {
  if (old && stage.depth > 0 && old.depth > 0 && handled === 0) return ["bad", "work waits and nothing moves"];
  if (isFull(stage)) return narrow ? ["warn", `${WAITS}${narrow}`] : ["bad", "the bottleneck: its queue is full"];
  if (wait_p99_us > budget_ms * 1000) return narrow ? ["warn", `${WAITS}${narrow}`] : ["bad", "waits longer than the latency budget"];
  if (wait_p99_us > budget_ms * 250) return ["warn", "waits take a quarter of the latency budget"];
  if (old && stage.panics > old.panics) return ["warn", "a worker panicked: see the log"];
  return ["", ""];
}
