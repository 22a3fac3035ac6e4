"use strict";
// The charts: uPlot in the admin's colours, each with a key that has its values as text.

const PooldaemonCharts = (() => {
  const HEIGHT = 150; // pixels
  const SHORTEST = 60; // seconds on the time axis
  const WHOLE = [0, 1, 2, 3, 4, 5, 6].flatMap((power) => [1, 2, 5].map((n) => n * 10 ** power)); // between marks

  const number = (value) => (value === null || value === undefined ? "–"
    : value >= 100 || Number.isInteger(value) ? Math.round(value).toLocaleString()
      : value.toFixed(1));

  function seconds(value) {
    if (value === null || value === undefined) return "–";
    return value < 1 ? `${Number((value * 1000).toPrecision(2))} ms` : `${value.toFixed(1)} s`;
  }

  const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });

  const CHARTS = [
    {
      title: "Connections", least: 1, format: number,
      lines: [["inUse", "in use", "--pd-1", { fill: true }], ["cap", "cap", "--pd-limit", { dash: [6, 4] }]],
    },
    { title: "Threads waiting for a connection", least: 1, format: number, lines: [["waiting", "waiting", "--pd-2", { fill: true }]] },
    {
      title: "Waits for a connection", least: 0.001, format: seconds,
      lines: [["p50", "p50", "--pd-1", {}], ["p95", "p95", "--pd-3", {}], ["p99", "p99", "--pd-2", {}]],
    },
    { title: "Units of work per second", least: 1, format: number, lines: [["rate", "units/s", "--pd-4", { fill: true }]] },
    { title: "Restarts of workers", least: 1, format: number, lines: [["restarts", "restarts", "--pd-3", { stepped: true }]] },
  ];

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  class Chart {
    constructor(parent, spec) {
      this.spec = spec;
      const figure = document.getElementById("pd-chart").content.cloneNode(true).firstElementChild;
      figure.querySelector("h2").textContent = spec.title;
      this.place = figure.querySelector(".pd-plot");
      this.values = spec.lines.map(([, label, name, { dash }]) => {
        const item = document.createElement("li");
        item.style.setProperty("--pd-line", `var(${name})`);
        item.classList.toggle("pd-dashed", Boolean(dash));
        const value = document.createElement("b");
        item.append(`${label} `, value);
        figure.querySelector(".pd-key").append(item);
        return value;
      });
      parent.append(figure);
      this.data = [[], ...spec.lines.map(() => [])];
      this.draw();
    }

    // Drawn again when colours change: uPlot reads them only at the start.
    draw() {
      if (this.plot) this.plot.destroy();
      const axis = { stroke: colour("--body-quiet-color"), grid: { stroke: colour("--hairline-color"), width: 1 }, ticks: { show: false } };
      const { format, least } = this.spec;
      this.plot = new uPlot({
        width: this.width(), height: HEIGHT, legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: {
          x: { range: (_, first, last) => [Math.min(first, last - SHORTEST), last] },
          y: { range: (_, low, high) => [0, Math.max(least, (high || 0) * 1.1)] },
        },
        axes: [
          { ...axis, size: 28, space: 80, values: (_, marks) => marks.map(clock) },
          { ...axis, size: 58, space: 34, incrs: least < 1 ? undefined : WHOLE, values: (_, marks) => marks.map(format) },
        ],
        series: [{}, ...this.spec.lines.map(([, label, name, { fill, dash, stepped }]) => ({
          label, stroke: colour(name), width: 2, dash, points: { show: false },
          fill: fill ? `${colour(name)}33` : undefined,
          paths: stepped ? uPlot.paths.stepped({ align: 1 }) : undefined,
        }))],
        hooks: { setCursor: [() => this.showValues()] },
      }, this.data, this.place);
    }

    width() {
      return Math.max(200, this.place.clientWidth);
    }

    resize() {
      this.plot.setSize({ width: this.width(), height: HEIGHT });
    }

    show(columns) {
      this.data = [columns.times, ...this.spec.lines.map(([name]) => columns[name])];
      this.plot.setData(this.data);
      this.showValues();
    }

    // The values under the pointer, or the last ones.
    showValues() {
      const at = this.plot && this.plot.cursor.idx;
      const i = at === null || at === undefined ? this.data[0].length - 1 : at;
      const texts = this.spec.lines.map(([, label], line) => {
        const text = this.spec.format(this.data[line + 1][i]);
        this.values[line].textContent = text;
        return `${label} ${text}`;
      });
      this.place.setAttribute("aria-label", `${this.spec.title}: ${texts.join(", ")}`);
    }
  }

  class Charts {
    constructor(parent) {
      this.charts = CHARTS.map((spec) => new Chart(parent, spec));
      new ResizeObserver(() => this.charts.forEach((chart) => chart.resize())).observe(parent);
      const redraw = () => this.charts.forEach((chart) => chart.draw());
      new MutationObserver(redraw).observe(document.documentElement, { attributeFilter: ["data-theme"] });
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
    }

    show(columns) {
      this.charts.forEach((chart) => chart.show(columns));
    }
  }

  return { Charts };
})();
