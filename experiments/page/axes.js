// Scales from numbers to pixels, their ticks, and the frame of a chart.

const LETTER = 6.6; // pixels of a letter at 12 px, roughly

function niceStep(span, ticks) {
  const raw = span / ticks;
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map((each) => each * power).find((each) => each >= raw);
}

/** A scale from [low, high] to [from, to] with its ticks: {at, ticks: [[value, words]], unit}. */
function linear(kind, low, high, from, to, ticks) {
  const [size, name] = unitFor(kind, high);
  const step = niceStep((high - low) / size || 1, ticks);
  const marks = [];
  for (let value = Math.ceil(low / size / step - 1e-9) * step; value <= high / size + 1e-9; value += step) {
    marks.push([value * size, short(value)]);
  }
  return { at: (value) => from + ((value - low) / (high - low || 1)) * (to - from), ticks: marks, unit: name, log: false };
}

/** The same, logarithmic; 0 has a place of its own before the smallest. */
function logarithmic(kind, values, from, to, ticks) {
  const positive = values.filter((value) => value > 0);
  const zero = values.some((value) => value === 0);
  const base = kind === "bytes" ? 2 : 10;
  const log = (value) => Math.log(value) / Math.log(base);
  const low = log(Math.min(...positive)), high = log(Math.max(...positive));
  const room = (high - low || 1) * 0.06;
  const start = low - room - (zero ? (high - low || 1) * 0.12 : 0), end = high + room;
  const at = (value) => from + (((value > 0 ? log(value) : start + room) - start) / (end - start)) * (to - from);
  const step = Math.max(kind === "bytes" ? 5 : 1, Math.ceil((end - low) / ticks));
  const marks = zero ? [[0, "0"]] : [];
  for (let power = Math.ceil((low - room) / step) * step; power <= end; power += step) marks.push([base ** power, inWords(kind, base ** power)]);
  return { at, ticks: marks, unit: "", log: true };
}

/** Logarithmic where the numbers are far apart. */
function scaleFor(axis, values, from, to, ticks) {
  const positive = values.filter((value) => value > 0);
  const far = axis.kind !== "percent" && positive.length > 1 && values.every((value) => value >= 0) && Math.max(...positive) / Math.min(...positive) > 30;
  if (far) return logarithmic(axis.kind, values, from, to, ticks);
  let low = Math.min(...values), high = Math.max(...values);
  const room = (high - low || Math.abs(high) || 1) * 0.07;
  low = low >= 0 ? Math.max(0, low - room) : low - room;
  high = axis.kind === "percent" && high <= 1 ? Math.min(1.005, high + room) : high + room;
  return linear(axis.kind, low, high, from, to, ticks);
}

/** Grid lines and words below and at the left of a box of pixels. */
function frame(x, y, box, titles) {
  const parts = [];
  for (const [value, words] of x ? x.ticks : []) {
    parts.push(svg("line", { class: "grid", x1: x.at(value), x2: x.at(value), y1: box.top, y2: box.bottom }));
    parts.push(svg("text", { class: "quiet", x: x.at(value), y: box.bottom + 16, "text-anchor": "middle" }, words));
  }
  for (const [value, words] of y ? y.ticks : []) {
    parts.push(svg("line", { class: "grid", x1: box.left, x2: box.right, y1: y.at(value), y2: y.at(value) }));
    parts.push(svg("text", { class: "quiet", x: box.left - 6, y: y.at(value) + 4, "text-anchor": "end" }, words));
  }
  parts.push(svg("line", { class: "edge", x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom }));
  if (titles && titles[0]) parts.push(svg("text", { x: (box.left + box.right) / 2, y: box.bottom + 36, "text-anchor": "middle" }, titles[0]));
  if (titles && titles[1]) parts.push(svg("text", { x: box.left - 40, y: box.top - 12 }, titles[1]));
  return svg("g", { "aria-hidden": "true" }, ...parts);
}

function titled(name, scale, kind) {
  const unit = scale.unit && kind !== "percent" ? ` (${scale.unit})` : "";
  return name + unit + (scale.log ? " (log scale)" : "");
}

/** A name on lines of at most `letters`, broken before @ and + and behind _ where it can be. */
function lines(label, letters) {
  const pieces = label.split(/(?=[@+])|(?<=_)/);
  const found = [""];
  for (let piece of pieces) {
    if (found[found.length - 1] && (found[found.length - 1] + piece).length > letters) found.push("");
    while (piece.length > letters) {
      found[found.length - 1] += piece.slice(0, letters);
      piece = piece.slice(letters);
      found.push("");
    }
    found[found.length - 1] += piece;
  }
  return found.filter(Boolean);
}

function nameLines(label, x, y, letters, attributes) {
  const parts = lines(label, letters);
  const text = svg("text", { ...attributes, x, "text-anchor": "end" });
  parts.forEach((part, place) => text.append(svg("tspan", { x, y: y + 4 + (place - (parts.length - 1) / 2) * 13 }, part)));
  return text;
}

/** The shape of a family's mark, around a point. */
function shape(family, x, y, attributes) {
  const paths = [
    null, "M-5-5h10v10h-10z", "M0-6.5L6 5H-6z", "M0-7L6.5 0L0 7L-6.5 0z", "M0 6.5L6-5H-6z",
    "M-2-6h4v4h4v4h-4v4h-4v-4h-4v-4h4z", "M-5.5-3L-3-5.5L0-2.5L3-5.5L5.5-3L2.5 0L5.5 3L3 5.5L0 2.5L-3 5.5L-5.5 3L-2.5 0z",
  ];
  const path = paths[family % paths.length];
  return path ? svg("path", { ...attributes, d: path, transform: `translate(${x} ${y})` }) : svg("circle", { ...attributes, cx: x, cy: y, r: 5.5 });
}

function familyKeys(families) {
  return html("ul", { class: "keys", "aria-label": "Families" }, ...families.map(([family, place]) => (
    html("li", { class: `family-${place % 7}` }, svg("svg", { viewBox: "0 0 18 14", "aria-hidden": "true" }, shape(place, 9, 7, { class: "mark" })), html("span", {}, family)))));
}
