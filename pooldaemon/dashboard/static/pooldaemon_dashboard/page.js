"use strict";
// Requests the data from the server at least every two seconds and shows them; sends actions.

(() => {
  const SILENT = 5; // seconds, at least, after which a process that has not reported counts as silent

  const config = JSON.parse(document.getElementById("pooldaemon-config").textContent);
  const every = 1000 * Math.min(2, config.interval); // milliseconds between requests
  const find = (id) => document.getElementById(id);
  const { Panel, element } = PooldaemonPanels;
  const history = new PooldaemonSeries.History(config.bounds);
  const charts = new PooldaemonCharts.Charts(find("pd-charts"));
  const shown = find("pd-shown");
  const hold = find("pd-hold");
  const panels = new Map();
  let timer = null;

  const isStale = (source) => source.age > Math.max(SILENT, 3 * config.interval);
  const isHeld = () => hold.getAttribute("aria-pressed") === "true";

  async function ask() {
    const response = await fetch(config.data, { headers: { Accept: "application/json" }, redirect: "error" });
    if (!response.ok) throw new Error(`HTTP status ${response.status}`);
    return response.json();
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const data = await ask();
      if (!isHeld()) show(data);
    } catch (error) {
      find("pd-updated").textContent = `No answer from the server (${error.message}); trying again`;
    }
    clearTimeout(timer);
    if (!document.hidden && !isHeld()) timer = setTimeout(refresh, every);
  }

  function show({ sources, history: actions }) {
    const now = Date.now() / 1000;
    history.add(sources.filter((source) => !isStale(source)), now);
    showSources(sources);
    drawCharts();
    find("pd-history").hidden = !actions.length;
    find("pd-history").querySelector("ol").replaceChildren(...actions.map((action) =>
      element("li", `${new Date(action.when).toLocaleString()}, ${action.who}: ${action.what}`)));
    find("pd-updated").textContent = `Updated at ${new Date().toLocaleTimeString([], { hour12: false })}`;
  }

  function drawCharts() {
    charts.show(history.columns(shown.value));
  }

  function showSources(sources) {
    find("pd-nothing").hidden = sources.length > 0;
    const ids = new Set(sources.map((source) => source.id));
    for (const [id, panel] of panels) {
      if (!ids.has(id)) {
        panel.remove();
        panels.delete(id);
        [...shown.options].find((option) => option.value === id).remove();
      }
    }
    for (const source of sources) {
      if (!panels.has(source.id)) {
        panels.set(source.id, new Panel(find("pd-sources"), source, act));
        shown.add(new Option(`${source.name}, ${source.id}`, source.id));
      }
      const panel = panels.get(source.id);
      panel.show(source, isStale(source));
      panel.section.hidden = Boolean(shown.value) && shown.value !== source.id;
    }
  }

  function say(text, failed) {
    const message = find("pd-message");
    message.hidden = false;
    message.textContent = text;
    message.classList.toggle("pd-failed", failed);
  }

  function confirmed(button, source) {
    if (!button.dataset.confirm) return Promise.resolve(true);
    const dialog = find("pd-confirm");
    find("pd-confirm-title").textContent = `${button.textContent}: ${source.name} on ${source.host}`;
    find("pd-confirm-text").textContent = button.dataset.confirm;
    find("pd-confirm-yes").textContent = button.textContent;
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((resolve) => {
      dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    });
  }

  async function act(source, button, processes) {
    if (!await confirmed(button, source)) return;
    const { command } = button.dataset;
    const body = new URLSearchParams({ source: source.id, command, processes });
    const token = document.querySelector("#pooldaemon [name=csrfmiddlewaretoken]").value;
    try {
      const response = await fetch(config.act, { method: "POST", body, headers: { "X-CSRFToken": token } });
      const answer = await response.json();
      say(answer.message || answer.error, !response.ok);
    } catch (error) {
      say(`${button.textContent}: no answer from the server (${error.message})`, true);
    }
    refresh();
  }

  shown.addEventListener("change", () => {
    for (const [id, panel] of panels) panel.section.hidden = Boolean(shown.value) && shown.value !== id;
    drawCharts();
  });
  hold.addEventListener("click", () => {
    hold.setAttribute("aria-pressed", String(!isHeld()));
    if (!isHeld()) refresh();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !isHeld()) refresh(); });
  refresh();
})();
