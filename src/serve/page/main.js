// The live page: asks for the metrics once a second, takes the stream of predictions, and draws both once a second.
import { Refused, get, keep } from "./access.js";
import { latencyOverTime, spread } from "./charts.js";
import { Snapshots, difference, quantile, rate, total } from "./interval.js";
import { Pipeline } from "./pipeline.js";
import { SeriesGrid } from "./series.js";
import { Stream } from "./stream.js";
import { Table } from "./tables.js";
import { Verdict } from "./verdict.js";
import { ago, byId, clock, duration, figure, make, percent, put, short } from "./words.js";

const SPAN_S = 300;
const FEED_ROWS = 30;
const LOG_ROWS = 50;

const snapshots = new Snapshots(70);
const history = [];
const pipeline = new Pipeline();
const grid = new SeriesGrid();
const verdict = new Verdict();
let feed = [];
let feedChanged = false;
let decisions = [];
let decided = -1;
let stream = null;
let streamState = "connecting";
let answered = null;

const count = { number: true, show: (value) => short(value) };
// None where nothing was predicted.
const ms = { number: true, show: (value) => duration(value > 0 ? value * 1000 : NaN) };
const symbols = new Table(byId("symbols"), "Symbols", [
  { name: "symbol", of: (row) => row.name },
  { name: "predictions", of: (row) => row.predictions_count, ...count },
  { name: "without", of: (row) => row.errors_count, ...count },
  { name: "mean", of: (row) => row.avg_latency_ms, ...ms },
  { name: "longest", of: (row) => row.max_latency_ms, ...ms },
]);
const models = new Table(byId("models"), "Models", [
  { name: "model", of: (row) => row.name },
  { name: "version", of: (row) => row.version ?? -1, number: true, show: (value) => (value < 0 ? "–" : String(value)) },
  { name: "stands", of: (row) => (row.failure ? `${row.standing}, newest fails` : (row.standing ?? "withdrawn")) },
  { name: "predictions", of: (row) => row.predictions_count, ...count },
  { name: "without", of: (row) => row.errors_count, ...count },
  { name: "mean", of: (row) => row.avg_latency_ms, ...ms },
  { name: "longest", of: (row) => row.max_latency_ms, ...ms },
]);

function rows(named) {
  return Object.entries(named ?? {}).map(([name, row]) => ({ name, ...row }));
}

function gauge(name, value, share) {
  const level = share >= 0.95 ? "bad" : share >= 0.8 ? "warn" : "";
  return { name, value, share, level };
}

const gauges = new Map();

function drawGauges(list) {
  for (const { name, value, share, level } of list) {
    let one = gauges.get(name);
    if (!one) {
      const fill = make("div", { class: "fill" });
      const text = make("span", { class: "value" });
      const node = make("div", { class: "gauge" }, make("span", { class: "name", text: name }), text, make("div", { class: "track" }, fill));
      one = { node, text, fill };
      gauges.set(name, one);
      byId("resources").append(node);
    }
    put(one.text, value);
    one.node.className = `gauge ${level}`;
    one.fill.style.width = Number.isFinite(share) ? `${Math.min(100, Math.max(0, share * 100)).toFixed(1)}%` : "0";
  }
}

function drawResources(metrics) {
  const { system, model_pool: pool, feature_cache: cache, performance } = metrics;
  const cores = navigator.hardwareConcurrency || 1;
  const limit = system.memory_limit_mb;
  drawGauges([
    gauge("memory", limit ? `${short(system.memory_usage_mb)} of ${short(limit)} MiB` : `${short(system.memory_usage_mb)} MiB`, system.memory_usage_mb / limit),
    gauge("CPU", `${short(system.cpu_usage_percent)} % of a core`, system.cpu_usage_percent / 100 / (system.cores ?? cores)),
    { ...gauge("sessions in memory", `${pool.loaded} of ${pool.max_size}`, pool.loaded / pool.max_size), level: "" },
    { ...gauge("feature cache hits", `${short(cache.hit_rate_percent)} %, ${short(cache.total_entries)} kept`, cache.hit_rate_percent / 100), level: "" },
    gauge("late predictions", short(performance.late_predictions), performance.total_predictions ? performance.late_predictions / performance.total_predictions : 0),
    gauge("not stored", short(performance.unsaved), performance.unsaved > 0 ? 1 : 0),
  ]);
}

function item(at, level, code, text) {
  return make("li", {}, make("span", { class: "when", text: clock(at) }), make("span", { class: `tag ${level}`, text: code }), ` ${text}`);
}

let lists = {};

// Lists are made anew only when what they show has changed.
function drawList(name, entries, draw, none) {
  const stamp = JSON.stringify(entries);
  if (lists[name] === stamp) return;
  lists[name] = stamp;
  byId(name).replaceChildren(...(entries.length ? entries.map(draw) : [make("li", { class: "none", text: none })]));
}

// What the controller saw, as a person reads it.
function sight(seen) {
  if ("depth" in seen) return `${short(seen.arrivals_per_s)}/s of ${duration(seen.service_us)} keep ${short(seen.load)} busy, waits p99 ${duration(seen.wait_p99_us)}`;
  return `${short(seen.runs)} runs of ${short(seen.rows_avg)} rows take ${duration(seen.run_avg_us)} of ${duration(seen.run_max_us)}`;
}

function decision({ at, subject, what, from, to, why, seen }) {
  const words = [subject, what === "workers" ? "workers" : "rows a batch", `${from} → ${to}:`, sight(seen)];
  return item(at, "info", why.replaceAll("_", " "), words.join(" "));
}

function drawController(controller, decisions) {
  if (!controller) return;
  put(byId("decisions-note"), controller.enabled ? `${short(controller.decisions)} ${controller.decisions === 1 ? "change" : "changes"} so far` : "off");
  drawList("decisions", decisions.slice(0, LOG_ROWS), decision, "nothing had to be changed yet");
  const limits = Object.entries(controller.batch_rows ?? {}).slice(0, LOG_ROWS);
  drawList("batches", limits, ([model, rows]) => make("li", { text: `${model}: ${rows}` }), "no model has a limit yet");
}

function drawReasons(reasons) {
  const named = Object.entries(reasons ?? {}).sort(([, a], [, b]) => b - a);
  drawList("without", named, ([reason, count]) => make("li", {}, make("span", { text: reason.replaceAll("_", " ") }), make("span", { class: "count", text: short(count) })), "every bar has its predictions");
}

function drawTold(alerts) {
  const told = ({ at, phase, severity, code, subject, detail }) =>
    item(at, phase === "cleared" ? "info" : severity, `${code} ${phase === "raised" ? "" : phase}`.trim(), `${subject}: ${detail}`);
  drawList("told", alerts.slice(0, LOG_ROWS), told, "nothing");
}

function drawStatus(metrics, health, found, at) {
  const status = health?.status ?? (found.some(({ level }) => level === "bad") ? "critical" : "healthy");
  const pill = byId("status");
  pill.className = `pill ${status}`;
  put(pill, status);
  document.title = status === "healthy" ? "vela" : `${status} · vela`;
  verdict.draw(metrics, health, found, streamState === "away", at);
}

// Which copy of itself the process is, and why.
function drawGeneration({ generation, last_restart: last }) {
  if (!generation) return put(byId("generation"), "the process has not replaced itself");
  const times = generation === 1 ? "once" : `${generation} times`;
  const pause = last?.pause_ms == null ? "" : `, ${duration(last.pause_ms * 1000)} without a bar`;
  put(byId("generation"), `the process has replaced itself ${times}, last at ${clock(last?.at)} UTC out of ${last?.cause}: ${last?.detail}${pause}`);
}

function drawHeadline(metrics, before, seconds) {
  const { performance } = metrics;
  const old = before?.metrics.performance;
  put(byId("bars-rate"), short(rate(performance.total_bars, old?.total_bars, seconds)));
  put(byId("predictions-rate"), short(rate(performance.total_predictions, old?.total_predictions, seconds)));
  put(byId("error-rate"), percent(performance.error_rate));
  put(byId("uptime"), ago(performance.uptime_s));
}

function drawLatency(metrics, at) {
  const bounds = metrics.bucket_bounds_us;
  const last = snapshots.back(1);
  const recent = difference(metrics.performance.latency_buckets, last?.metrics.performance.latency_buckets);
  const point = { at, p50: quantile(bounds, recent, 0.5), p99: quantile(bounds, recent, 0.99) };
  history.push(point);
  while (history.length && at - history[0].at > SPAN_S * 1000) history.shift();
  const minute = difference(metrics.performance.latency_buckets, snapshots.back(60)?.metrics.performance.latency_buckets);
  const [p50, p99] = [quantile(bounds, minute, 0.5), quantile(bounds, minute, 0.99)];
  put(byId("latency-p50"), duration(p50));
  put(byId("latency-p99"), duration(p99));
  const budget_us = metrics.performance.budget_ms * 1000;
  const seen = latencyOverTime(byId("latency-chart"), history, SPAN_S, budget_us);
  put(byId("budget"), seen ? `budget ${duration(budget_us)}` : `budget ${duration(budget_us)}, far above`);
  spread(byId("spread-chart"), bounds, minute, [
    { us: p50, colour: "accent", name: "p50" },
    { us: p99, colour: "second", name: "p99" },
  ]);
  put(byId("spread-note"), total(minute) ? `${short(total(minute))} predictions · p50 ${duration(p50)} · p99 ${duration(p99)}` : "no live bar was predicted in the last minute");
}

function drawFeed() {
  if (!feedChanged || byId("feed-pause").getAttribute("aria-pressed") === "true") return;
  feedChanged = false;
  const body = byId("feed");
  while (body.rows.length < feed.length) {
    body.append(make("tr", {}, ...[0, 0, 0, 1, 0, 1, 1, 1].map((number) => make("td", { class: number ? "n" : "" }))));
  }
  feed.forEach((event, index) => {
    const texts = [event.ts.replace("T", " ").replace("Z", ""), event.symbol, event.timeframe, String(event.horizon), `${event.model} ${event.version}`, figure(event.close), figure(event.value), duration(event.latency_us)];
    texts.forEach((text, at) => put(body.rows[index].cells[at], text));
  });
}

function take(event) {
  grid.take(event);
  feed.unshift(event);
  if (feed.length > FEED_ROWS) feed.pop();
  feedChanged = true;
}

async function look() {
  let wait_ms = document.hidden ? 5000 : 1000;
  try {
    const [metrics, health] = await Promise.all([get("/api/metrics"), get("/api/health").catch(() => null)]);
    const at = Date.now();
    answered = at;
    byId("sign-in").hidden = true;
    snapshots.add(metrics, at);
    // They are many: they are asked for when there are others.
    if (metrics.controller && metrics.controller.decisions !== decided) {
      decisions = (await get("/api/decisions")).decisions;
      decided = metrics.controller.decisions;
    }
    if (!stream) {
      stream = new Stream(take, (state) => (streamState = state));
      stream.open();
    }
    if (!document.hidden) draw(metrics, health, at);
  } catch (error) {
    if (error instanceof Refused) {
      byId("sign-in").hidden = false;
      put(byId("status"), "token needed");
      verdict.locked();
    } else {
      byId("status").className = "pill away";
      put(byId("status"), "away");
      document.title = "away · vela";
      verdict.away(answered, Date.now());
    }
    wait_ms = 1000;
  }
  setTimeout(look, wait_ms);
}

function draw(metrics, health, at) {
  const before = snapshots.back(3);
  const seconds = before ? (at - before.at) / 1000 : 0;
  const found = pipeline.update(metrics, before?.metrics, seconds, metrics.performance.budget_ms);
  drawHeadline(metrics, before, seconds);
  drawStatus(metrics, health, found, at);
  drawLatency(metrics, at);
  drawResources(metrics);
  drawGeneration(metrics.system);
  symbols.update(rows(metrics.symbols));
  models.update(rows(metrics.model_pool.models));
  const standing = health?.reasons ?? metrics.active_alerts ?? [];
  put(byId("alerts-note"), standing.length ? `${standing.length} stand` : "none stands");
  drawList("alerts", standing, (alert) => item(alert.since, alert.severity, alert.code.replaceAll("_", " "), alert.subject), "nothing hurts");
  drawController(metrics.controller, decisions);
  drawReasons(metrics.reasons);
  drawTold(health?.alerts ?? []);
  grid.draw();
  drawFeed();
  put(byId("version"), metrics.version ?? "");
}

function themes() {
  const names = ["auto", "light", "dark"];
  const button = byId("theme");
  const show = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    put(button, `Theme: ${name}`);
    grid.redraw();
  };
  let name = localStorage.getItem("vela-theme") ?? "auto";
  show(name);
  button.addEventListener("click", () => {
    name = names[(names.indexOf(name) + 1) % names.length];
    localStorage.setItem("vela-theme", name);
    show(name);
  });
}

byId("sign-in").addEventListener("submit", async (submit) => {
  submit.preventDefault();
  keep(byId("token").value);
  try {
    await get("/api/metrics");
    byId("sign-in").hidden = true;
  } catch {
    put(byId("sign-in-problem"), "vela refused this token");
  }
});
byId("feed-pause").addEventListener("click", (click) => {
  const pressed = click.currentTarget.getAttribute("aria-pressed") !== "true";
  click.currentTarget.setAttribute("aria-pressed", String(pressed));
  put(click.currentTarget, pressed ? "Go on" : "Pause");
});
document.addEventListener("visibilitychange", () => grid.redraw());
themes();
look();
