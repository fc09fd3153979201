// Everything is set up here, once the page is there.

function chartFor(figure, figures) {
  const chart = figures.charts[figure.dataset.figure];
  if (chart) return chart.apart ? new ChartPanels(figure, chart) : new ChartLines(figure, chart);
  const data = figures[figure.dataset.figure];
  if (!data || (Array.isArray(data) && !data.length)) return null;
  if (figure.dataset.figure === "scatter") return new ScatterPlot(figure, data, figures.families, figures.level);
  if (figure.dataset.figure === "intervals") return new IntervalPlot(figure, data, figures.families, figures.level);
  return "panels" in data ? new CurvePanels(figure, data) : new BarChart(figure, data);
}

/** Put the drawn figure in the picture's place. */
function drawn(figure, figures) {
  const chart = chartFor(figure, figures);
  if (!chart) return null;
  figure.prepend(html("h3", {}, figure.dataset.title));
  figure.classList.add("drawn");
  chart.draw();
  return chart;
}

/** A box that does not scroll is no stop of the tab key. */
function stops() {
  for (const box of document.querySelectorAll(".scroll, pre")) {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
}

function start() {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  document.body.append(tip);
  for (const table of document.querySelectorAll("table.data")) new DataTable(table);
  const charts = [...document.querySelectorAll("figure[data-figure]")].map((figure) => drawn(figure, figures)).filter(Boolean);
  let width = document.documentElement.clientWidth;
  addEventListener("resize", () => {
    if (document.documentElement.clientWidth === width) return;
    width = document.documentElement.clientWidth;
    charts.forEach((chart) => chart.draw());
    stops();
  });
  addEventListener("scroll", placeTip, { passive: true, capture: true });
  const closed = () => [...document.querySelectorAll("details:not(.choose):not([open])")];
  let opened = [];
  addEventListener("beforeprint", () => { opened = closed(); opened.forEach((each) => { each.open = true; }); });
  addEventListener("afterprint", () => { opened.forEach((each) => { each.open = false; }); });
  stops();
}

start();
