// Whether all is well, in one sentence, and if not, where it hurts: the first thing one sees.
import { ago, byId, clock, duration, make, put, short } from "./words.js";

// What hurt a moment ago stays for so long: a list that flickers cannot be read.
const HOLD_MS = 5000;

export class Verdict {
  constructor() {
    // What the page itself saw: text => {level, until}.
    this.held = new Map();
    this.shown = null;
  }

  // The server's health and what the pipeline's drawing found; `facts` is said where all is well.
  draw(metrics, health, found, stream_away, at) {
    for (const { level, text } of found) this.held.set(text, { level, until: at + HOLD_MS });
    for (const [text, { until }] of this.held) if (until < at) this.held.delete(text);
    const own = [...this.held].map(([text, { level }]) => ({ severity: level === "bad" ? "error" : "warning", text }));
    if (stream_away) own.push({ severity: "warning", text: "the stream of predictions is away and is opened again: the series below wait" });
    const told = (health?.reasons ?? []).map(({ severity, code, subject, detail, since }) => ({
      severity, text: `${subject ? `${subject}: ` : ""}${detail}`, code, since,
    }));
    const reasons = [...own, ...told];
    const status = health?.status ?? "healthy";
    const worst = status !== "healthy" ? status : own.some(({ severity }) => severity === "error") ? "critical" : own.length ? "degraded" : "healthy";
    const things = `${reasons.length} ${reasons.length === 1 ? "thing" : "things"}`;
    const none = !metrics.model_pool.total_models;
    const title = none ? "No model serves yet" : { healthy: "All is well", degraded: `${things} to look at`, critical: `Act now: ${things}` }[worst] ?? status;
    this.show(worst, title, this.facts(metrics));
    const stamp = JSON.stringify(reasons);
    if (stamp !== this.shown) {
      this.shown = stamp;
      byId("reasons").replaceChildren(...reasons.map(reason));
      byId("reasons").hidden = reasons.length === 0;
    }
  }

  // Nobody answers; what is drawn is from `last`, in ms.
  away(last, at) {
    const since = last ? `It last answered ${ago((at - last) / 1000)} ago; what is below is from then.` : "Nothing was seen of it yet.";
    this.show("away", "vela does not answer", `${since} It is asked again every second.`);
    this.shown = null;
    byId("reasons").hidden = true;
  }

  locked() {
    this.show("connecting", "This vela asks for its token", "It is in the variable VELA_TOKEN, or in the file that serve.token_file names, where vela runs.");
  }

  facts(metrics) {
    const { performance, model_pool: pool } = metrics;
    const symbols = Object.keys(metrics.symbols ?? {}).length;
    if (!pool.total_models) return "Put one into the models folder and promote it (vela models promote NAME VERSION): it serves within a second.";
    const models = `${short(pool.total_models)} ${pool.total_models === 1 ? "model" : "models"}`;
    if (!performance.total_bars) return `${models} ready, no bar has come yet: predictions begin with the first closed bar.`;
    const budget = duration(performance.budget_ms * 1000);
    return `${short(symbols)} ${symbols === 1 ? "symbol" : "symbols"}, ${models}; ${short(performance.total_predictions)} predictions stored, ${short(performance.late_predictions)} later than the budget of ${budget}.`;
  }

  show(level, title, note) {
    byId("verdict").className = level;
    put(byId("verdict-title"), title);
    put(byId("verdict-note"), note);
    byId("main").classList.toggle("stale", level === "away");
    document.body.classList.toggle("stale", level === "away");
  }
}

function reason({ severity, text, code, since }) {
  const parts = [make("strong", { class: `tag ${severity}`, text: code ? code.replaceAll("_", " ") : "seen here" }), ` ${text}`];
  if (since) parts.push(make("small", { text: ` since ${clock(since)} UTC` }));
  return make("li", {}, ...parts);
}
