// The four stages, and what hurts in them.
import { difference, quantile, rate } from "./interval.js";
import { byId, duration, make, put, short } from "./words.js";


export class Pipeline {
  constructor() {
    this.place = byId("pipeline");
    this.stages = new Map();
  }

  build(order) {
    this.place.replaceChildren();
    this.stages.clear();
    for (const name of order) {
      const cells = {};
      const list = make("dl");
      for (const row of ["handled", "waiting", "workers", "queue wait p50", "queue wait p99", "work p50", "work p99"]) {
        cells[row] = make("dd", { text: "–" });
        list.append(make("dt", { text: row }), cells[row]);
      }
      const hurts = make("p", { class: "hurts" });
      const node = make("li", { class: "stage" }, make("h3", { text: name }), list, hurts);
      this.stages.set(name, { node, cells, hurts });
      this.place.append(node);
    }
  }

  // Compares `now` with `before`, which is `seconds` older; returns what hurts, for the summary above.
  update(now, before, seconds, budget_ms) {
    const order = now.stage_order;
    if ([...this.stages.keys()].join() !== order.join()) this.build(order);
    const bounds = now.bucket_bounds_us;
    const found = [];
    for (const name of order) {
      const stage = now.stages[name];
      const old = before?.stages[name];
      const { node, cells, hurts } = this.stages.get(name);
      const waits = difference(stage.queue_wait_buckets, old?.queue_wait_buckets);
      const works = difference(stage.service_buckets, old?.service_buckets);
      const handled = rate(stage.items, old?.items, seconds);
      put(cells.handled, Number.isNaN(handled) ? "–" : `${short(handled)}/s`);
      put(cells.waiting, stage.items_max ? `${short(stage.depth)} of ${short(stage.items_max)}` : short(stage.depth));
      put(cells.workers, stage.workers_max ? `${stage.workers} of ${stage.workers_max}` : String(stage.workers));
      put(cells["queue wait p50"], duration(quantile(bounds, waits, 0.5)));
      const p99 = quantile(bounds, waits, 0.99);
      put(cells["queue wait p99"], duration(p99));
      put(cells["work p50"], duration(quantile(bounds, works, 0.5)));
      put(cells["work p99"], duration(quantile(bounds, works, 0.99)));
      const [level, why] = judge(stage, old, handled, p99, budget_ms);
      node.className = `stage ${level}`;
      hurts.className = `hurts ${level}`;
      put(hurts, why);
      if (level) found.push({ level, text: `${name}: ${why}` });
    }
    return found;
  }
}

function judge(stage, old, handled, wait_p99_us, budget_ms) {
  if (old && stage.depth > 0 && old.depth > 0 && handled === 0) return ["bad", "work waits and nothing moves"];
  if (stage.items_max && stage.depth >= 0.9 * stage.items_max) return ["bad", "full: the stage before it waits"];
  if (wait_p99_us > budget_ms * 1000) return ["bad", "waits longer than the latency budget"];
  if (wait_p99_us > budget_ms * 250) return ["warn", "waits take a quarter of the latency budget"];
  if (old && stage.panics > old.panics) return ["warn", "a worker panicked: see the log"];
  return ["", ""];
}
