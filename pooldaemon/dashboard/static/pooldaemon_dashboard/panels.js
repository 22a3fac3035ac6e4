"use strict";
// One panel per daemon or web process: its state, its workers, units, pools and holders.

const PooldaemonPanels = (() => {
  const { pools } = PooldaemonSeries;
  const MAX_ROWS = 20;

  function duration(seconds) {
    if (seconds === null || seconds === undefined) return "–";
    if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
    return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
  }

  const count = (value) => (value === null || value === undefined ? "–" : value.toLocaleString());
  const mebibytes = (bytes) => (bytes ? `${Math.round(bytes / 2 ** 20)} MiB` : "–");

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  // A bar with its numbers beside it. A native element, for screen readers.
  function bar(name, value, max, text, label) {
    const made = element("span", undefined, "pd-bar");
    const native = document.createElement(name);
    native.max = max || 1;
    if (value !== null) native.value = value;
    native.setAttribute("aria-label", label);
    made.append(native, ` ${text}`);
    return made;
  }

  function progress(unit) {
    if (unit.done === null || unit.done === undefined) return "–";
    if (!unit.total) return count(unit.done);
    const text = `${Math.round(100 * Math.min(1, unit.done / unit.total))} %`;
    return bar("progress", unit.done, unit.total, text, `Progress of ${unit.thread}`);
  }

  function use(pool) {
    if (pool.cap === null) return count(pool.in_use);
    return bar("meter", pool.in_use, pool.cap, `${pool.in_use} of ${pool.cap}`, `In use of ${pool.name}`);
  }

  const connects = (pool) => count(pool.connects) + (pool.connect_errors ? ` (${count(pool.connect_errors)} failed)` : "");

  const discards = (pool) => Object.entries(pool.discards || {}).map(([why, n]) => `${n} ${why}`).join(", ") || "0";

  const workers = (number) => `${number} worker${number === 1 ? "" : "s"}`;

  const readyWorkers = (ready, wanted) => (ready > wanted
    ? `${workers(ready)} ready, ${wanted} wanted` : `${ready} of ${workers(wanted)} ready`);

  const longestFirst = (rows) => rows.sort((a, b) => b.seconds - a.seconds).slice(0, MAX_ROWS);

  // Columns: title, value, and classes; narrow screens omit minor ones.
  const TABLES = [
    {
      title: "Workers", rows: (status) => status.workers.filter((worker) => worker.state),
      columns: [
        ["Worker", (w) => w.name], ["Pid", (w) => w.pid, "number minor"],
        ["State", (w) => element("span", w.state, `pd-state pd-${w.state}`)],
        ["Up", (w) => duration(w.age), "number"], ["Units", (w) => count(w.units), "number"],
        ["Failed", (w) => count(w.failures), "number"], ["Busy", (w) => count(w.busy), "number minor"],
        ["Memory", (w) => mebibytes(w.rss), "number minor"], ["Restarts", (w) => count(w.restarts), "number"],
      ],
    },
    {
      title: "Running units of work", rows: (status) => longestFirst(status.workers.flatMap((worker) => worker.running || [])),
      columns: [
        ["Thread", (u) => u.thread], ["For", (u) => duration(u.seconds), "number"], ["Progress", progress],
      ],
    },
    {
      title: "Pools", rows: pools,
      columns: [
        ["Worker", (p) => p.worker], ["Pool", (p) => (p.paused ? `${p.name} (paused)` : p.name), "wide"],
        ["In use", use], ["Idle", (p) => count(p.idle), "number minor"], ["Waiting", (p) => count(p.waiting), "number"],
        ["Timeouts", (p) => count(p.timeouts), "number"], ["Connects", connects, "number minor"],
        ["Discarded", discards, "minor"],
      ],
    },
    {
      title: "Connections in use",
      rows: (status) => longestFirst(pools(status).flatMap((pool) =>
        (pool.holders || []).map((holder) => ({ ...holder, pool: pool.name })))),
      columns: [
        ["Thread", (h) => h.thread], ["For", (h) => duration(h.seconds), "number"], ["Borrowed at", (h) => element("code", h.place), "wide"],
        ["Pool", (h) => h.pool, "minor wide"],
      ],
    },
  ];

  class Table {
    constructor(parent, spec, owner) {
      this.spec = spec;
      this.place = element("div", undefined, "pd-table");
      // Focusable, so that the keyboard can scroll a table that is wider than the screen.
      this.place.tabIndex = 0;
      this.place.setAttribute("role", "region");
      this.place.setAttribute("aria-label", `${spec.title} of ${owner}`);
      const table = element("table");
      table.append(element("caption", spec.title));
      const head = table.createTHead().insertRow();
      for (const [title, , kind] of spec.columns) {
        const cell = element("th", title, kind);
        cell.scope = "col";
        head.append(cell);
      }
      this.body = table.createTBody();
      this.place.append(table);
      parent.append(this.place);
    }

    show(status) {
      const rows = this.spec.rows(status);
      this.place.hidden = !rows.length;
      this.body.replaceChildren(...rows.map((row) => {
        const made = element("tr");
        for (const [, value, kind] of this.spec.columns) {
          const cell = element("td", undefined, kind);
          cell.append(value(row));
          made.append(cell);
        }
        return made;
      }));
    }
  }

  class Panel {
    constructor(parent, source, act) {
      this.section = document.getElementById("pd-source").content.cloneNode(true).firstElementChild;
      this.find = (selector) => this.section.querySelector(selector);
      this.source = source;
      const label = `${source.name} on ${source.host}`;
      this.find("h2").textContent = label;
      this.section.setAttribute("aria-label", `${label}, process ${source.status.pid}`);
      this.tables = TABLES.map((spec) => new Table(this.find(".pd-tables"), spec, label));
      this.form = this.find(".pd-actions");
      if (this.form) {
        this.form.addEventListener("submit", (event) => event.preventDefault());
        for (const button of this.form.querySelectorAll("button")) {
          button.setAttribute("aria-label", `${button.textContent}: ${label}`);
          button.addEventListener("click", () => {
            if (button.type === "submit" && !this.form.reportValidity()) return;
            act(this.source, button, this.form.elements.processes.value);
          });
        }
        this.form.elements.processes.value = source.status.processes || 1;
      }
      parent.append(this.section);
    }

    show(source, stale) {
      const { status } = source;
      this.source = source;
      const up = status.uptime === undefined ? "" : `, up ${duration(status.uptime)}`;
      const ready = status.processes === undefined ? ""
        : `, ${readyWorkers(status.workers.filter((worker) => worker.state === "ready").length, status.processes)}`;
      const seen = stale ? `; silent for ${duration(source.age)}` : `; reported ${duration(source.age)} ago via ${source.via}`;
      const paused = pools(status).some((pool) => pool.paused) ? ", pools paused" : "";
      this.find(".pd-about").textContent = `${status.state}, pid ${status.pid}${up}${ready}${paused}${seen}`;
      this.section.classList.toggle("pd-stale", stale);
      this.find(".pd-death").hidden = !status.last_death;
      this.find(".pd-death").textContent = `Last death: ${status.last_death}`;
      const failed = status.reload !== undefined && status.reload.state === "failed";
      this.find(".pd-reload").hidden = !failed;
      this.find(".pd-reload").textContent = failed ? `The last reload failed: ${status.reload.reason}` : "";
      this.find(".pd-commands").hidden = !source.commands.length;
      this.find(".pd-commands").replaceChildren(...source.commands.map((command) => element("li", `${command.command}: ${command.state}`)));
      if (this.form) this.form.hidden = !source.operable || stale;
      this.tables.forEach((table) => table.show(status));
    }

    remove() {
      this.section.remove();
    }
  }

  return { Panel, element };
})();
