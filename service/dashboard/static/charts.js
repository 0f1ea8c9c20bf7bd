// Draws a model's versions beside their table. The table says the same, so the drawing is hidden from screen readers.
"use strict";
(() => {
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const HEIGHT = 170;

  function options(width, columns) {
    const ink = colour("--quiet"), line = colour("--line");
    const axis = (scale, label, side) => ({ scale, label, side, stroke: ink, size: 46, labelSize: 20, grid: { stroke: line, width: 1, show: side !== 1 }, ticks: { stroke: line } });
    const series = [{ label: "version" }, { label: "nats", scale: "nats", stroke: colour("--accent"), width: 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: true, size: 5 } }];
    if (columns.spent) series.push({ label: "budget spent", scale: "nats", stroke: colour("--amber"), width: 0, paths: () => null, points: { show: true, size: 8, fill: colour("--amber") } });
    if (columns.accuracy) series.push({ label: "accuracy %", scale: "share", stroke: colour("--green"), width: 1, points: { show: true, size: 8, fill: colour("--green") } });
    return {
      width, height: HEIGHT, series, cursor: { show: false }, legend: { show: false },
      scales: {
        x: { time: false, range: (_u, low, high) => [low - 0.5, high + 0.5] },
        nats: { range: (_u, _low, high) => [0, high > 0 ? high * 1.15 : 1] },
        share: { range: [0, 100] },
      },
      axes: [{ ...axis("x", "version", 2), incrs: [1, 2, 5, 10, 20, 50, 100] }, axis("nats", "nats", 3), ...(columns.accuracy ? [axis("share", "accuracy %", 1)] : [])],
    };
  }

  async function draw(figure) {
    const answer = await fetch(figure.dataset.chart, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const all = await answer.json();
    const known = (column) => (all[column].some((value) => value !== null) ? all[column] : null);
    const columns = { spent: known("spent"), accuracy: known("accuracy") };
    const place = figure.querySelector(".drawing");
    if (!all.version.length || !place.clientWidth) return;
    place.replaceChildren();
    const data = [all.version, all.nats, columns.spent, columns.accuracy].filter((column) => column);
    new uPlot(options(place.clientWidth, columns), data, place);
  }

  const stamps = new WeakMap();
  function drawAll(onlyChanged) {
    for (const figure of document.querySelectorAll("[data-chart]")) {
      if (onlyChanged === true && stamps.get(figure) === figure.dataset.stamp) continue;
      stamps.set(figure, figure.dataset.stamp);
      draw(figure);
    }
  }

  let width = window.innerWidth, timer;
  window.addEventListener("resize", () => {
    if (window.innerWidth === width) return;
    width = window.innerWidth;
    clearTimeout(timer);
    timer = setTimeout(drawAll, 200);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  document.addEventListener("htmx:after:swap", () => drawAll(true));
  drawAll();
})();
