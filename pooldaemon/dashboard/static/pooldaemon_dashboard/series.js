"use strict";
// Turns the statuses of sources over time into the columns of the charts. Does not use the document.

const PooldaemonSeries = (() => {
  const KEPT = 900; // seconds
  const WINDOW = 30; // seconds of waits from which percentiles are computed

  const sum = (items, value) => items.reduce((total, item) => total + (value(item) || 0), 0);

  function pools(status) {
    return status.workers.flatMap((worker) =>
      (worker.pools || []).map((pool) => ({ ...pool, worker: worker.name, pid: worker.pid })));
  }

  // The quantile q (0 to 1) of a histogram in seconds, interpolated; null: it is empty.
  function percentile(counts, bounds, q) {
    const total = sum(counts, (count) => count);
    if (!total) return null;
    let before = 0;
    for (let i = 0; i < counts.length; i += 1) {
      if (counts[i] && before + counts[i] >= q * total) {
        const low = i ? bounds[i - 1] : 0;
        const high = i < bounds.length ? bounds[i] : low;
        return low + (high - low) * (q * total - before) / counts[i];
      }
      before += counts[i];
    }
    return null;
  }

  class History {
    constructor(bounds) {
      this.bounds = bounds;
      this.samples = [];
      this.last = new Map(); // source id -> its last status and rate
    }

    // Add an answer of the server. A source without a new status keeps its rate.
    add(sources, now) {
      const sample = { time: now, sources: new Map() };
      for (const source of sources) {
        sample.sources.set(source.id, this.measure(source));
      }
      for (const id of this.last.keys()) {
        if (!sample.sources.has(id)) this.last.delete(id);
      }
      this.samples.push(sample);
      while (now - this.samples[0].time > KEPT) this.samples.shift();
    }

    measure(source) {
      const all = pools(source.status);
      const before = this.last.get(source.id);
      const known = {
        at: source.at,
        units: source.status.units || 0,
        rate: before ? before.rate : null,
        waits: new Map(all.map((pool) => [`${pool.pid} ${pool.name}`, pool.wait.counts])),
      };
      let waited = null;
      // A published status is read several times, and its computed time varies a little.
      const seconds = before ? source.at - before.at : 0;
      if (seconds > 0.5) {
        known.rate = Math.max(0, known.units - before.units) / seconds;
        waited = this.waited(before.waits, known.waits);
      }
      if (!before || seconds > 0.5) this.last.set(source.id, known);
      return {
        inUse: sum(all, (pool) => pool.in_use),
        cap: sum(all, (pool) => pool.cap),
        waiting: sum(all, (pool) => pool.waiting),
        restarts: source.status.restarts || 0,
        rate: known.rate,
        waited,
      };
    }

    waited(before, after) {
      const counts = new Array(this.bounds.length + 1).fill(0);
      for (const [key, now] of after) {
        const then = before.get(key);
        if (then) now.forEach((count, i) => { counts[i] += Math.max(0, count - then[i]); });
      }
      return counts;
    }

    // Columns for the charts: of the source shown, or of all for "".
    columns(shown) {
      const times = [];
      const made = { inUse: [], cap: [], waiting: [], rate: [], restarts: [], p50: [], p95: [], p99: [] };
      const recent = [];
      for (const { time, sources } of this.samples) {
        const chosen = [...sources].filter(([id]) => !shown || id === shown).map(([, one]) => one);
        times.push(time);
        for (const name of ["inUse", "cap", "waiting", "restarts"]) {
          made[name].push(chosen.length ? sum(chosen, (one) => one[name]) : null);
        }
        const rates = chosen.filter((one) => one.rate !== null);
        made.rate.push(rates.length ? sum(rates, (one) => one.rate) : null);
        for (const one of chosen) if (one.waited) recent.push([time, one.waited]);
        while (recent.length && time - recent[0][0] > WINDOW) recent.shift();
        const counts = new Array(this.bounds.length + 1).fill(0);
        for (const [, waited] of recent) waited.forEach((count, i) => { counts[i] += count; });
        for (const [name, q] of [["p50", 0.5], ["p95", 0.95], ["p99", 0.99]]) {
          made[name].push(percentile(counts, this.bounds, q));
        }
      }
      return { times, ...made };
    }
  }

  return { History, percentile, pools };
})();
