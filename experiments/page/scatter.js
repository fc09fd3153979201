// Every strategy by two columns that the reader picks, with the Pareto front where both have a better way.

/** Those that no other beats in one and matches in the other, the best x first. */
function paretoFront(points, x, y) {
  if (!x.better || !y.better) return [];
  const better = (axis, a, b) => (axis.better === "higher" ? a - b : b - a);
  const sorted = [...points].sort((a, b) => -better(x, a.values[x.key], b.values[x.key]) || -better(y, a.values[y.key], b.values[y.key]));
  const front = [];
  for (const point of sorted) {
    if (!front.length || better(y, point.values[y.key], front[front.length - 1].values[y.key]) > 0) front.push(point);
  }
  return front;
}

class ScatterPlot {
  constructor(figure, data, families, level) {
    Object.assign(this, { figure, data, families, level });
    this.axis = (key) => data.axes.find((axis) => axis.key === key);
    const options = data.axes.map((axis) => [axis.key, axis.name]);
    this.x = this.axis(data.x);
    this.y = this.axis(data.y);
    this.place = html("div", {});
    this.caption = figure.querySelector("figcaption");
    figure.prepend(
      html("div", { class: "tools" },
        choice("Across", options, data.x, (key) => { this.x = this.axis(key); this.draw(); }),
        choice("Upward", options, data.y, (key) => { this.y = this.axis(key); this.draw(); })),
      this.place);
  }

  draw() {
    const width = this.place.clientWidth, height = Math.min(460, Math.max(320, width * 0.7));
    const points = this.data.points.filter((point) => this.x.key in point.values && this.y.key in point.values);
    const box = { left: 46, right: width - 14, top: 26, bottom: height - 46 };
    const reach = (axis) => points.flatMap((point) => [point.values[axis.key], ...(axis.key === "test_accuracy" && point.interval ? point.interval : [])]);
    const x = scaleFor(this.x, reach(this.x), box.left + 8, box.right - 8, Math.max(3, width / 110));
    const y = scaleFor(this.y, reach(this.y), box.bottom, box.top, 6);
    const front = paretoFront(points, this.x, this.y);
    const at = (point) => [x.at(point.values[this.x.key]), y.at(point.values[this.y.key])];
    const marks = points.map((point) => this.mark(point, at(point), x, y));
    const titles = [titled(this.x.name, x, this.x.kind), titled(this.y.name, y, this.y.kind)];
    const drawing = canvas(width, height, { role: "group", "aria-label": `${this.y.name} by ${this.x.name}, ${points.length} strategies` },
      frame(x, y, box, titles), this.frontLine(front.map(at)), svg("g", {}, ...marks));
    this.place.replaceChildren(drawing, familyKeys(this.present(points)));
    roving(marks);
    this.nameThem(drawing, points, front, at, box);
    this.caption.textContent = "Point at a mark, or go to it with tab and arrows, for its numbers. " +
      (front.length ? "Dashed line and bold names: the Pareto front, where no other strategy is as good in one and better in the other. " : "One of these columns has no better way, so there is no front. ") +
      (this.x.key === "test_accuracy" || this.y.key === "test_accuracy" ? `Bars: ${this.level} interval of the test accuracy.` : "");
  }

  present(points) {
    return this.families.map((family, place) => [family, place]).filter(([family]) => points.some((point) => (point.family || "other") === family));
  }

  mark(point, [px, py], x, y) {
    const family = Math.max(0, this.families.indexOf(point.family || "other"));
    const [low, high] = point.interval || [null, null];
    const upright = this.y.key === "test_accuracy" && low !== null, across = this.x.key === "test_accuracy" && low !== null;
    const node = svg("g", { class: `family-${family % 7}` },
      upright ? svg("line", { class: "interval", x1: px, x2: px, y1: y.at(low), y2: y.at(high) }) : null,
      across ? svg("line", { class: "interval", x1: x.at(low), x2: x.at(high), y1: py, y2: py }) : null,
      shape(family, px, py, { class: "mark" }), svg("circle", { class: "halo", cx: px, cy: py, r: 9 }));
    const words = [this.x, this.y].map((axis) => `${axis.name}: ${point.words[axis.key]}`);
    if (upright || across) words.push(`interval ${short(100 * low)} to ${short(100 * high)} %`);
    return explained(node, [point.label, ...words, point.family], node.querySelector(".mark"));
  }

  frontLine(places) {
    if (places.length < 2) return svg("g", {});
    let path = `M${places[0]}`;
    for (const [px, py] of places.slice(1)) path += `H${px}V${py}`;
    return svg("path", { class: "front", d: path, "aria-hidden": "true" });
  }

  /** Names where they cover no mark and no other name: all of a few, of many the front and what has room. */
  nameThem(drawing, points, front, at, box) {
    const taken = points.map((point) => { const [px, py] = at(point); return [px - 6, py - 6, px + 6, py + 6]; });
    for (let place = 1; place < front.length; place += 1) { // the steps of the front
      const [fromX, fromY] = at(front[place - 1]), [toX, toY] = at(front[place]);
      taken.push([Math.min(fromX, toX), fromY - 2, Math.max(fromX, toX), fromY + 2], [toX - 2, Math.min(fromY, toY), toX + 2, Math.max(fromY, toY)]);
    }
    const layer = svg("g", { "aria-hidden": "true" });
    drawing.append(layer);
    const rest = points.length <= 12 ? points.filter((point) => !front.includes(point)) : [];
    for (const point of [...front, ...rest]) {
      const strong = front.includes(point);
      const [px, py] = at(point), wide = point.label.length * (strong ? LETTER + 0.6 : LETTER);
      const spots = [];
      for (const up of [0, -14, 14, -26, 26, -40, 40, -56, 56]) for (const [across, anchor] of [[9, 0], [-9, -1], [0, -0.5]]) if (up || anchor !== -0.5) spots.push([across, up, anchor]);
      const boxes = spots.map(([across, up, anchor]) => { const left = px + across + anchor * wide; return [left, py + up - 7, left + wide, py + up + 7]; });
      const clash = (one) => taken.reduce((sum, other) => sum + Math.max(0, Math.min(one[2], other[2]) - Math.max(one[0], other[0])) * Math.max(0, Math.min(one[3], other[3]) - Math.max(one[1], other[1])), 0);
      const inside = (one) => one[0] >= box.left - 2 && one[2] <= box.right + 12 && one[1] >= box.top - 12 && one[3] <= box.bottom;
      const place = boxes.findIndex((one) => inside(one) && clash(one) < 1);
      if (place < 0) continue; // no room: the mark says its name
      taken.push(boxes[place]);
      const [across, up, anchor] = spots[place];
      if (Math.abs(up) > 14) layer.append(svg("line", { class: "lead", x1: px, y1: py + Math.sign(up) * 7, x2: px + across, y2: py + up - Math.sign(up) * 7 }));
      layer.append(svg("text", { class: strong ? "name strong" : "name", x: px + across, y: py + up + 4, "text-anchor": anchor === 0 ? "start" : anchor === -1 ? "end" : "middle" }, point.label));
    }
  }
}
