// A measure while training: one panel per strategy, the mean over the seeds as a line, their range as a band.

const SPLITS = ["train", "validation"];
const SPLIT_NAMES = { train: "training", validation: "validation" };

class CurvePanels {
  constructor(figure, data) {
    this.data = data;
    this.kind = data.measure === "accuracy" ? "percent" : "number";
    this.last = Math.max(...data.panels.map((panel) => panel.last));
    this.low = data.measure === "loss" ? 0 : Math.min(...data.panels.flatMap((panel) => SPLITS.flatMap((split) => panel.lines[split].map((row) => row[2]))));
    this.place = html("div", { class: "panels" });
    if (data.panels.length > 4) figure.classList.add("wide");
    figure.prepend(this.place, this.keys());
    const seeds = Math.max(...data.panels.map((panel) => panel.seeds)) > 1 ? " Lines: the mean over the seeds; bands: from the lowest to the highest seed." : "";
    figure.querySelector("figcaption").textContent = "Measured on a few batches, not on the whole split." + seeds + " Point at a panel, or go to it with tab and the arrows, for the numbers.";
  }

  draw() {
    const panels = this.data.panels.map((panel) => html("div", {}, html("h4", {}, panel.label)));
    this.place.replaceChildren(...panels);
    const width = panels[0].clientWidth, height = 130;
    panels.forEach((panel, place) => this.panel(panel, this.data.panels[place], width, height));
    roving(panels);
  }

  panel(node, panel, width, height) {
    const box = { left: 34, right: width - 8, top: 8, bottom: height - 22 };
    const top = this.data.top * (this.data.measure === "loss" ? 1.05 : 1);
    const x = linear("number", 0, this.last, box.left, box.right, 5), y = linear(this.kind, this.low, top, box.bottom, box.top, 4);
    const inside = (value) => Math.max(box.top - 4, y.at(value)); // what is above the frame stays at its edge
    const cross = svg("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" });
    const parts = SPLITS.flatMap((split) => this.lines(panel, split, x.at, inside));
    const drawing = canvas(width, height, { "aria-hidden": "true" }, frame(x, y, box), ...parts, cross);
    node.append(drawing);
    this.listen(node, panel, drawing, cross, x.at, box);
  }

  lines(panel, split, x, y) {
    const rows = panel.lines[split];
    if (!rows.length) return [];
    const edge = (place) => rows.map((row) => [x(row[0]), y(row[place])]);
    const band = panel.seeds > 1 ? svg("path", { class: `band ${split}`, d: bandOf(edge(3), edge(2)) }) : null;
    return [band, svg("path", { class: `line ${split}`, d: pathOf(edge(1)) })];
  }

  words(panel, epoch) {
    const number = (value) => (this.kind === "percent" ? (100 * value).toFixed(1) : value.toPrecision(3));
    const said = [];
    for (const split of SPLITS) {
      const row = panel.lines[split].find((each) => each[0] === epoch);
      if (row) said.push(`${SPLIT_NAMES[split]} ${number(row[1])}` + (panel.seeds > 1 ? ` (${number(row[2])} to ${number(row[3])})` : ""));
    }
    return [panel.label, `epoch ${epoch.toFixed(2).replace(/\.?0+$/, "")}`, ...said];
  }

  listen(node, panel, drawing, cross, x, box) {
    const epochs = [...new Set(SPLITS.flatMap((split) => panel.lines[split].map((row) => row[0])))].sort((a, b) => a - b);
    const spots = epochs.map((epoch) => [x(epoch), 0, box.bottom]);
    along(node, drawing, { spots, words: (place) => this.words(panel, epochs[place]), marked: (place) => {
      cross.setAttribute("visibility", place === null ? "hidden" : "visible");
      if (place !== null) for (const end of ["x1", "x2"]) cross.setAttribute(end, spots[place][0]);
    } });
  }

  keys() {
    return html("ul", { class: "keys", "aria-label": "Curves" }, ...SPLITS.map((split) => (
      html("li", {}, svg("svg", { viewBox: "0 0 18 12", "aria-hidden": "true" }, svg("path", { class: `line ${split}`, d: "M0 6H18" })), html("span", {}, SPLIT_NAMES[split])))),
      html("li", {}, html("span", {}, "across: epochs" + (this.kind === "percent" ? "; up: %" : ""))));
  }
}
