// What sections show along an axis: a panel for each strategy, or a line for each in one frame.

/** Whole numbers whole, others with three digits, very small ones with a power of ten. */
function digits(value) {
  if (Number.isInteger(value)) return value.toLocaleString("en");
  return Math.abs(value) < 1e-3 ? value.toExponential(2).replace(/\.?0+e/, "e") : short(value);
}

/** The x axis: linear, or logarithmic with powers of ten in a panel and the measured places in a frame. */
function chartAcross(chart, xs, from, to) {
  const places = [...new Set(xs)].sort((a, b) => a - b), low = places[0], high = places[places.length - 1];
  const whole = places.every(Number.isInteger) ? high - low || 1 : Infinity; // no ticks between whole numbers
  if (!chart.log) return linear("number", low, high, from, to, Math.min(whole, Math.max(2, (to - from) / 50)));
  const at = (x) => from + (low === high ? 0.5 : Math.log(x / low) / Math.log(high / low)) * (to - from);
  const powers = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); 10 ** power <= high * (1 + 1e-9); power += 1) powers.push(10 ** power);
  const ticks = [];
  let free = -Infinity; // pixels up to which the words of the ticks before reach
  for (const place of chart.apart && powers.length > 1 ? powers : places) {
    const words = digits(place), half = (words.length * LETTER) / 2;
    if (at(place) - half < free) continue;
    ticks.push([place, words]);
    free = at(place) + half + 4;
  }
  return { at, ticks, unit: "", log: true };
}

/** What is said of a measurement. */
function pointWords(chart, line, [x, y, low, high, bar, hollow]) {
  const around = low === null ? "" : ` (${digits(low)} to ${digits(high)})`;
  return [line.label, `${chart.x}: ${digits(x)}`, `${chart.y}: ${digits(y)}${around}`,
    ...(bar === null ? [] : [`${chart.bars}: ${digits(bar)}`]), ...(hollow ? ["after the first round only"] : []),
    ...(line.default === x ? ["the default"] : []), ...(line.chosen === x ? ["chosen"] : [])];
}

function reach(values, room) {
  const low = Math.min(...values), high = Math.max(...values), rest = (high - low || 1) * room;
  return [low - rest, high + rest];
}

/** The drawn figure's words and places; both kinds of chart begin so. */
function chartFrame(chart, figure, place, wide, keys) {
  if (wide) figure.classList.add("wide");
  figure.prepend(place, keys);
  figure.querySelector("figcaption").textContent += " Point at a line, or go to it with tab and the arrows, for its numbers.";
}

class ChartPanels {
  constructor(figure, chart) {
    this.chart = chart;
    this.rows = chart.lines.flatMap((line) => line.rows);
    this.place = html("div", { class: "panels" });
    const titles = [`across: ${chart.x_title}`, `up: ${chart.y}`, ...(chart.bars ? [`bars: ${chart.bars}`] : [])];
    chartFrame(chart, figure, this.place, chart.lines.length > 4,
      html("ul", { class: "keys", "aria-label": "Axes" }, ...titles.map((title) => html("li", {}, html("span", {}, title)))));
  }

  draw() {
    const panels = this.chart.lines.map((line) => html("div", {}, html("h4", {}, line.label)));
    this.place.replaceChildren(...panels);
    const width = panels[0].clientWidth, height = this.chart.diagonal ? 160 : 130;
    panels.forEach((panel, place) => this.panel(panel, this.chart.lines[place], width, height));
    roving(panels);
  }

  panel(node, line, width, height) {
    const { chart } = this, box = { left: 34, right: width - 12, top: 8, bottom: height - 22 };
    const xs = chart.diagonal ? [Math.min(45, Math.min(...this.rows.map(([x]) => x)) - 5), 102] : line.rows.map(([x]) => x);
    const [low, high] = chart.diagonal ? [0, 100] : reach(this.rows.map(([, y]) => y), 0.06);
    const x = chartAcross(chart, xs, box.left + 8, box.right - 8), y = linear("number", low, high, box.bottom, box.top, 4);
    const cross = svg("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" });
    const drawing = canvas(width, height, { "aria-hidden": "true" }, frame(x, y, box), ...this.under(line, x, y, box),
      svg("path", { class: "line train", d: pathOf(line.rows.map(([px, py]) => [x.at(px), y.at(py)])) }),
      ...line.rows.map(([px, py, , , , hollow]) => svg("circle", { class: hollow ? "mark hollow train" : "mark train", cx: x.at(px), cy: y.at(py), r: 3.2 })),
      ...line.rows.filter(([px]) => px === line.chosen).map(([px, py]) => svg("circle", { class: "mark validation", cx: x.at(px), cy: y.at(py), r: 5.5 })), cross);
    node.append(drawing);
    const spots = line.rows.map(([px]) => [x.at(px), box.top, box.bottom]);
    along(node, drawing, { spots, words: (place) => pointWords(chart, line, line.rows[place]), marked: (place) => {
      cross.setAttribute("visibility", place === null ? "hidden" : "visible");
      if (place !== null) for (const end of ["x1", "x2"]) cross.setAttribute(end, spots[place][0]);
    } });
  }

  /** What lies below the line: bars, the diagonal, the default. */
  under(line, x, y, box) {
    const bars = line.rows.filter(([, , , , bar]) => bar !== null).map(([px, , , , bar]) => (
      svg("rect", { class: "bar", x: x.at(px) - 5, width: 10, y: y.at(bar), height: Math.max(0, box.bottom - y.at(bar)) })));
    const [from] = this.chart.diagonal ? [Math.min(45, Math.min(...this.rows.map(([px]) => px)) - 5)] : [];
    return [...bars, this.chart.diagonal ? svg("path", { class: "front", d: pathOf([[x.at(from), y.at(from)], [x.at(100), y.at(100)]]) }) : null,
      line.default !== null && line.default > 0 ? svg("line", { class: "dots", x1: x.at(line.default), x2: x.at(line.default), y1: box.top, y2: box.bottom }) : null];
  }
}

class ChartLines {
  constructor(figure, chart) {
    this.chart = chart;
    this.rows = chart.lines.flatMap((line) => line.rows);
    this.place = html("div", {});
    chartFrame(chart, figure, this.place, chart.lines.length > 12, this.keys());
  }

  draw() {
    const { chart, rows } = this, width = Math.min(860, this.place.clientWidth), height = Math.min(420, Math.max(280, width * 0.55));
    const box = { left: 46, right: width - 14, top: 26, bottom: height - 46 };
    const [low, high] = reach(rows.flatMap(([, y, bottom, top]) => (bottom === null ? [y] : [bottom, top])), 0.04);
    const x = chartAcross(chart, rows.map(([px]) => px), box.left + 10, box.right - 10), y = linear("number", low, high, box.bottom, box.top, 6);
    const drawing = canvas(width, height, { class: "lines", role: "group", "aria-label": `${chart.y} by ${chart.x}, ${chart.lines.length} strategies` },
      frame(x, y, box, [chart.x_title, chart.y]));
    const nodes = chart.lines.map((line, place) => this.line(line, place, x, y, drawing));
    drawing.append(...nodes);
    this.place.replaceChildren(drawing);
    roving(nodes);
  }

  line(line, place, x, y, drawing) {
    const points = line.rows.map(([px, py]) => [x.at(px), y.at(py)]);
    const banded = line.rows.filter(([, , low]) => low !== null);
    const halo = svg("circle", { class: "mark spot", r: 6, visibility: "hidden" });
    const node = svg("g", { class: this.look(place) },
      banded.length ? svg("path", { class: "band", d: bandOf(banded.map(([px, , , high]) => [x.at(px), y.at(high)]), banded.map(([px, , low]) => [x.at(px), y.at(low)])) }) : null,
      svg("path", { class: "line", d: pathOf(points) }), svg("path", { class: "wide-line", d: pathOf(points) }),
      ...points.map(([px, py]) => svg("circle", { class: "mark", cx: px, cy: py, r: 3.2 })), halo);
    along(node, drawing, { spots: points.map(([px, py]) => [px, py, py]), words: (number) => pointWords(this.chart, line, line.rows[number]), marked: (number) => {
      halo.setAttribute("visibility", number === null ? "hidden" : "visible");
      if (number === null) return;
      halo.setAttribute("cx", points[number][0]);
      halo.setAttribute("cy", points[number][1]);
    } });
    return node;
  }

  /** Seven colours, three kinds of lines. */
  look(place) {
    return `family-${place % 7} dash-${Math.floor(place / 7) % 3}`;
  }

  keys() {
    return html("ul", { class: "keys", "aria-label": "Strategies" }, ...this.chart.lines.map((line, place) => (
      html("li", { class: this.look(place) }, svg("svg", { viewBox: "0 0 18 12", "aria-hidden": "true" }, svg("path", { class: "line", d: "M0 6H18" })), html("span", {}, line.label)))));
  }
}
