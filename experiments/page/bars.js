// A cost of every strategy as bars of its parts.

/** Slanted lines over a bar: several seeds were timed together. */
function hatching(from, to, y) {
  let path = "";
  for (let x = from; x + 8 <= to; x += 8) path += `M${x} ${y + 8}l8-16`;
  return path;
}

class BarChart {
  constructor(figure, data) {
    this.data = data;
    this.place = html("div", {});
    figure.prepend(this.place);
  }

  draw() {
    const { rows, kind, parts } = this.data, width = this.place.clientWidth;
    const sum = (row) => row.parts.reduce((total, part) => total + part, 0);
    const longest = Math.max(...rows.map((row) => row.label.length));
    const letters = Math.min(longest, Math.max(12, Math.floor((width * 0.4) / LETTER)));
    const left = letters * (LETTER + 0.4) + 14, right = width - 76;
    const heights = rows.map((row) => Math.max(24, lines(row.label, letters).length * 13 + 8));
    const bottom = heights.reduce((total, each) => total + each, 8);
    const x = linear(kind, 0, Math.max(...rows.map(sum)) || 1, left, right, Math.max(2, (right - left) / 70));
    let top = 8;
    const marks = rows.map((row, place) => {
      const y = top + heights[place] / 2;
      top += heights[place];
      return this.bar(row, x, y, { width, left, letters, height: heights[place], total: sum(row) });
    });
    this.place.replaceChildren(canvas(width, bottom + 44, { role: "group", "aria-label": parts.join(", ") },
      frame(x, null, { left, right, top: 4, bottom }, [x.unit === "s" ? "seconds" : x.unit]), svg("g", {}, ...marks)), this.keys());
    roving(marks);
  }

  bar(row, x, y, size) {
    let from = 0;
    const rects = row.parts.map((part, place) => {
      const rect = svg("rect", { class: `part-${place}`, x: x.at(from), y: y - 8, width: Math.max(0, x.at(from + part) - x.at(from)), height: 16 });
      from += part;
      return rect;
    });
    const node = svg("g", {}, svg("rect", { class: "row-back", x: 0, y: y - size.height / 2, width: size.width, height: size.height }), ...rects,
      row.together ? svg("path", { class: "hatch", d: hatching(x.at(0), x.at(size.total), y) }) : null,
      nameLines(row.label, size.left - 10, y, size.letters, {}), svg("text", { x: x.at(size.total) + 6, y: y + 4 }, inWords(this.data.kind, size.total)));
    const said = this.data.parts.map((name, place) => [name, row.parts[place]]).filter(([, part]) => part).map(([name, part]) => `${name}: ${inWords(this.data.kind, part)}`);
    return explained(node, [row.label, ...said, ...(row.together ? ["several seeds together"] : [])], rects[0]);
  }

  keys() {
    if (this.data.parts.length < 2) return "";
    return html("ul", { class: "keys", "aria-label": "Parts" }, ...this.data.parts.map((name, place) => (
      html("li", {}, svg("svg", { viewBox: "0 0 18 12", "aria-hidden": "true" }, svg("rect", { class: `part-${place}`, width: 18, height: 12 })), html("span", {}, name)))));
  }
}
