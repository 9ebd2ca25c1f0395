// The series: closes and predictions as they came, drawn when they are on the screen and something new came.
import { price } from "./charts.js";
import { byId, figure, make, put } from "./words.js";

const POINTS = 90;
const STEP = 24;

export class SeriesGrid {
  constructor() {
    this.place = byId("series");
    this.all = new Map();
    this.shown = STEP;
    this.filter = byId("series-filter");
    this.filter.addEventListener("input", () => this.arrange());
    byId("series-more").addEventListener("click", () => {
      this.shown += STEP;
      this.arrange();
    });
    this.watch = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        const one = this.all.get(entry.target.dataset.name);
        if (one) one.visible = entry.isIntersecting;
        if (one && one.visible) one.changed = true;
      }
    });
  }

  // A prediction joins its series; the lowest horizon is the one that is drawn.
  take(event) {
    const name = `${event.symbol} ${event.timeframe}`;
    let one = this.all.get(name);
    if (!one) {
      one = { name, points: [], horizon: event.horizon, newest: new Map(), changed: true, visible: false, item: null };
      this.all.set(name, one);
      this.grown = true;
    }
    if (event.horizon < one.horizon) one.horizon = event.horizon;
    one.newest.set(`${event.horizon} ${event.model}`, event);
    if (event.horizon === one.horizon) {
      const point = { ts: event.ts, close: event.close, value: event.value };
      const at = one.points.findIndex((known) => known.ts >= event.ts);
      if (at < 0) one.points.push(point);
      else if (one.points[at].ts === event.ts) one.points[at] = point;
      else one.points.splice(at, 0, point);
      if (one.points.length > POINTS) one.points.shift();
    }
    one.changed = true;
  }

  arrange() {
    const text = this.filter.value.trim().toLowerCase();
    const kept = [...this.all.values()].filter((one) => one.name.toLowerCase().includes(text));
    kept.sort((a, b) => a.name.localeCompare(b.name));
    const shown = kept.slice(0, this.shown);
    const wanted = new Set(shown);
    for (const one of this.all.values()) {
      if (one.item && !wanted.has(one)) {
        this.watch.unobserve(one.item.node);
        one.item.node.remove();
        one.item = null;
      }
    }
    shown.forEach((one, index) => {
      one.item ??= this.item(one);
      if (this.place.children[index] !== one.item.node) this.place.insertBefore(one.item.node, this.place.children[index] ?? null);
    });
    byId("series-none").hidden = this.all.size > 0;
    put(byId("series-count"), `${shown.length} of ${kept.length}`);
    byId("series-more").hidden = kept.length <= shown.length;
  }

  item(one) {
    const close = make("span");
    const canvas = make("canvas", { role: "img", "aria-label": `${one.name}: closes and predictions` });
    const says = make("div", { class: "says" });
    const title = make("div", { class: "title" }, make("strong", { text: one.name }), close);
    const node = make("li", { "data-name": one.name }, title, canvas, says);
    this.watch.observe(node);
    one.changed = true;
    return { node, canvas, close, says };
  }

  draw() {
    if (this.grown) {
      this.grown = false;
      this.arrange();
    }
    for (const one of this.all.values()) {
      if (!one.item || !one.visible || !one.changed) continue;
      one.changed = false;
      const newest = one.points[one.points.length - 1];
      if (newest) put(one.item.close, figure(newest.close));
      const said = [...one.newest.values()].sort((a, b) => a.horizon - b.horizon);
      put(one.item.says, said.map((event) => `h${event.horizon} ${figure(event.value, 4)}`).join(" · "));
      price(one.item.canvas, one.points);
    }
  }

  redraw() {
    for (const one of this.all.values()) one.changed = true;
  }
}
