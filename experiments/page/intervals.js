// Test accuracy with its interval, a row per strategy, from the most to the least accurate in each family.

class IntervalPlot {
  constructor(figure, rows, families, level) {
    this.families = families;
    this.level = level;
    this.place = html("div", {});
    figure.prepend(this.place);
    const ranked = [...rows].sort((a, b) => b.mean - a.mean);
    const grouped = rows.length > 6 && families.length > 1;
    this.best = ranked[0];
    this.rows = grouped ? families.flatMap((family) => ranked.filter((row) => (row.family || "other") === family)) : ranked;
  }

  draw() {
    const width = this.place.clientWidth;
    const longest = Math.max(...this.rows.map((row) => row.label.length));
    const letters = Math.min(longest, Math.max(12, Math.floor((width * 0.4) / LETTER)));
    const left = letters * (LETTER + 0.4) + 14, right = width - Math.max(...this.rows.map((row) => row.words.length)) * LETTER - 8;
    const heights = this.rows.map((row) => Math.max(24, lines(row.label, letters).length * 13 + 8));
    const bottom = heights.reduce((sum, each) => sum + each, 8);
    const x = scaleFor({ kind: "percent" }, this.rows.flatMap((row) => [row.low, row.high]), left, right, Math.max(2, (right - left) / 60));
    let top = 8;
    const marks = this.rows.map((row, place) => {
      const y = top + heights[place] / 2;
      top += heights[place];
      return this.row(row, x, y, { width, letters, left, right, height: heights[place] });
    });
    const best = x.at(this.best.mean);
    this.place.replaceChildren(canvas(width, bottom + 44, { role: "group", "aria-label": "Test accuracy with intervals" },
      svg("g", {}, ...marks.map(([back]) => back)), frame(x, null, { left, right, top: 4, bottom }, ["test accuracy (%)"]),
      svg("line", { class: "front", x1: best, x2: best, y1: 4, y2: bottom, "aria-hidden": "true" }),
      svg("g", {}, ...marks.map(([, mark]) => mark))), familyKeys(this.families.map((family, place) => [family, place])));
    roving(marks.map(([, mark]) => mark));
  }

  row(row, x, y, size) {
    const family = Math.max(0, this.families.indexOf(row.family || "other"));
    const back = svg("g", {});
    const mark = svg("g", { class: `family-${family % 7}` },
      svg("rect", { class: "row-back", x: 0, y: y - size.height / 2, width: size.width, height: size.height }),
      svg("line", { class: "interval", x1: x.at(row.low), x2: x.at(row.high), y1: y, y2: y }),
      shape(family, x.at(row.mean), y, { class: row.leads ? "mark" : "mark hollow" }),
      nameLines(row.label + (row.learned === false ? " ✗" : ""), size.left - 10, y, size.letters + 2, {}),
      svg("text", { x: size.right + 8, y: y + 4 }, row.words));
    const says = row.leads ? "the best, or not shown to be below it" : "below the best beyond chance";
    const interval = `${this.level} interval ${short(100 * row.low)} to ${short(100 * row.high)} %`;
    return [back, explained(mark, [row.label, `${row.words} %`, interval, says], mark.querySelector(".mark"))];
  }
}
