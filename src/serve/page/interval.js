// What happened since an earlier snapshot: rates from counts, quantiles from bucket counts. The server only counts up,
// so that any number of pages may look, each at intervals of its own.

// Bucket i holds durations up to bounds[i] µs; the last one what is longer.
export function difference(now, before) {
  if (!now) return [];
  if (!before || before.length !== now.length) return now.slice();
  // A server that was restarted counts from 0 again.
  const restarted = now.some((count, i) => count < before[i]);
  return restarted ? now.slice() : now.map((count, i) => count - before[i]);
}

export function total(counts) {
  let sum = 0;
  for (const count of counts) sum += count;
  return sum;
}

// The quantile q of bucket counts in µs, between the bounds of its bucket by proportion; NaN where there is none.
export function quantile(bounds, counts, q) {
  const all = total(counts);
  if (all === 0) return NaN;
  let left = q * all;
  for (let i = 0; i < counts.length; i++) {
    if (left <= counts[i] && counts[i] > 0) {
      const low = i === 0 ? 0 : bounds[i - 1];
      const high = i < bounds.length ? bounds[i] : bounds[bounds.length - 1];
      return low + (high - low) * (left / counts[i]);
    }
    left -= counts[i];
  }
  return bounds[bounds.length - 1];
}

// Counts an interval and how long it was, in s; restarts give the whole of what is there.
export function rate(now, before, seconds) {
  if (before === undefined || seconds <= 0) return NaN;
  return (now >= before ? now - before : now) / seconds;
}

// The newest snapshots, to look back a while.
export class Snapshots {
  constructor(keep) {
    this.keep = keep;
    this.list = [];
  }

  add(metrics, at) {
    const newest = this.list[this.list.length - 1];
    if (newest && metrics.performance.uptime_s < newest.metrics.performance.uptime_s) this.list = [];
    this.list.push({ metrics, at });
    if (this.list.length > this.keep) this.list.shift();
  }

  // The newest that is at least `seconds` older than the last, or else the oldest.
  back(seconds) {
    const last = this.list[this.list.length - 1];
    for (let i = this.list.length - 2; i >= 0; i--) {
      if (last.at - this.list[i].at >= seconds * 1000 - 200) return this.list[i];
    }
    return this.list.length > 1 ? this.list[0] : undefined;
  }
}
