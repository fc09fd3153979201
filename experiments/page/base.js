// Elements, numbers in words, and the small box that says what is under the pointer or has the focus.

const SVG = "http://www.w3.org/2000/svg";

/** Set attributes and add children; text children are text, whatever is in them. */
function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === true) node.setAttribute(name, "");
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  for (const child of children) if (child !== null) node.append(child);
  return node;
}

function html(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

/** A drawing of so many pixels, which is also its size on paper. */
function canvas(width, height, attributes, ...children) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, ...attributes }, ...children);
}

// --- numbers ----------------------------------------------------------------------------------------------------

const UNITS = {
  percent: [[0.01, "%"]],
  seconds: [[1, "s"], [60, "min"], [3600, "h"]],
  bytes: [[1, "B"], [1024, "KiB"], [1024 ** 2, "MiB"], [1024 ** 3, "GiB"]],
  count: [[1, ""], [1e3, "K"], [1e6, "M"], [1e9, "B"]],
  number: [[1, ""]],
};

/** The unit for numbers up to `largest`: [how much one of it is, its name]. */
function unitFor(kind, largest) {
  const units = UNITS[kind];
  let found = units[0];
  for (const unit of units) if (Math.abs(largest) >= unit[0]) found = unit;
  return found;
}

function short(value) {
  return String(Number(value.toPrecision(3)));
}

/** A number with its unit, for the ticks of an axis. */
function inWords(kind, value) {
  const [size, name] = unitFor(kind, value);
  return kind === "percent" ? short(value / size) : (short(value / size) + " " + name).trim();
}

// --- the box ----------------------------------------------------------------------------------------------------

const tip = html("div", { class: "tip", "aria-hidden": "true", hidden: true });

let beside = null; // gives the box of pixels that the tip stands beside

function showTip(lines, box) {
  tip.replaceChildren(html("strong", {}, lines[0]), ...lines.slice(1).map((line) => html("span", {}, line)));
  tip.hidden = false;
  beside = box;
  placeTip();
}

/** Above what it explains, or below where there is no room; it goes along when the page is scrolled. */
function placeTip() {
  if (tip.hidden) return;
  const box = beside(), { width, height } = tip.getBoundingClientRect();
  const right = document.documentElement.clientWidth;
  const left = Math.min(Math.max(8, box.left + box.width / 2 - width / 2), right - width - 8);
  const above = box.top - height - 8;
  tip.style.left = left + "px";
  tip.style.top = (above > 4 ? above : box.bottom + 8) + "px";
}

function hideTip() {
  tip.hidden = true;
}

/** Say `lines` of `node` by the pointer, by the keyboard's focus, and to a screen reader. */
function explained(node, lines, anchor) {
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", lines.join(", "));
  const show = () => showTip(lines, () => (anchor || node).getBoundingClientRect());
  node.addEventListener("pointerenter", show);
  node.addEventListener("focus", show);
  node.addEventListener("pointerleave", hideTip);
  node.addEventListener("blur", hideTip);
  return node;
}

/** One stop of the tab key for all `nodes`; arrows, Home and End go from one to the next. */
function roving(nodes) {
  nodes.forEach((node, place) => {
    node.setAttribute("tabindex", place ? "-1" : "0");
    node.addEventListener("keydown", (event) => {
      const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -place, End: nodes.length - 1 - place };
      if (event.key === "Escape") hideTip();
      if (!(event.key in steps) || event.defaultPrevented) return;
      event.preventDefault();
      const next = nodes[(place + steps[event.key] + nodes.length) % nodes.length];
      node.setAttribute("tabindex", "-1");
      next.setAttribute("tabindex", "0");
      next.focus();
    });
  });
}
