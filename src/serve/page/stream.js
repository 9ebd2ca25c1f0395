// The stream of predictions, once a second the newest of every key: reconnects by itself, and resumes where it was.
import { token } from "./access.js";

const PAUSE_MS_MAX = 10000;
// What is drawn once a second need not come more often.
const INTERVAL_MS = 1000;

export class Stream {
  // `take(events)` gets predictions in order; `state(text)` is told how the connection is.
  constructor(take, state) {
    this.take = take;
    this.state = state;
    this.pause_ms = 250;
    this.seen = {};
    this.epoch = null;
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const protocols = token() ? ["vela", `bearer.${token()}`] : ["vela"];
    const socket = new WebSocket(`${scheme}://${location.host}/api/stream`, protocols);
    socket.addEventListener("open", () => {
      this.pause_ms = 250;
      this.state("live");
      const resume = this.epoch ? { epoch: this.epoch, after: this.seen } : undefined;
      socket.send(JSON.stringify({ type: "subscribe", interval_ms: INTERVAL_MS, batch: true, resume }));
    });
    socket.addEventListener("message", (message) => this.receive(JSON.parse(message.data)));
    socket.addEventListener("close", () => {
      this.state("away");
      setTimeout(() => this.open(), this.pause_ms * (0.75 + Math.random() / 2));
      this.pause_ms = Math.min(PAUSE_MS_MAX, this.pause_ms * 2);
    });
  }

  receive(message) {
    if (message.type === "subscribed") {
      // Another process numbers anew.
      if (message.epoch !== this.epoch) this.seen = {};
      this.epoch = message.epoch;
    }
    if (message.type !== "batch") return;
    for (const event of message.events) {
      this.seen[event.key] = event.seq;
      this.take(event);
    }
  }
}
