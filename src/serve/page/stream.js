// The stream of predictions: reconnects by itself, resumes where it was, and hands over what came once a frame at most.
import { token } from "./access.js";

const PAUSE_MS_MAX = 10000;

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
      socket.send(JSON.stringify({ type: "subscribe", symbols: ["*"], resume: this.epoch ? { epoch: this.epoch, after: this.seen } : undefined }));
    });
    socket.addEventListener("message", (message) => this.receive(JSON.parse(message.data)));
    socket.addEventListener("close", () => {
      this.state("away");
      setTimeout(() => this.open(), this.pause_ms * (0.75 + Math.random() / 2));
      this.pause_ms = Math.min(PAUSE_MS_MAX, this.pause_ms * 2);
    });
  }

  receive(message) {
    if (message.type === "prediction") {
      this.seen[message.key] = message.seq;
      this.take(message);
    }
  }
}
