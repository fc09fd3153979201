// Measurements along an axis: the pointer shows the nearest one, and the left and right arrows go from one to the next.

/**
 * Let `node` tell its measurements, the last one first.
 *
 * `spots`: where each is in `drawing`, as [x, top, bottom]; `words(place)`: what is said of it;
 * `marked(place)`: it is shown, or nothing is (null).
 */
function along(node, drawing, { spots, words, marked }) {
  let now = spots.length - 1;
  const scale = () => {
    const box = drawing.getBoundingClientRect();
    return [box, box.width / drawing.viewBox.baseVal.width];
  };
  const show = (place) => {
    now = place;
    node.setAttribute("aria-label", words(now).join(", "));
    marked(now);
    showTip(words(now), () => {
      const [box, size] = scale(), [x, top, bottom] = spots[now];
      return { left: box.left + x * size, width: 0, top: box.top + top * size, bottom: box.top + bottom * size };
    });
  };
  const hide = () => { marked(null); hideTip(); };
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", words(now).join(", "));
  node.addEventListener("pointermove", (event) => {
    const [box, size] = scale(), at = (event.clientX - box.left) / size;
    show(spots.reduce((best, [x], place) => (Math.abs(x - at) < Math.abs(spots[best][0] - at) ? place : best), 0));
  });
  node.addEventListener("pointerleave", hide);
  node.addEventListener("blur", hide);
  node.addEventListener("focus", () => show(now));
  node.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Math.min(spots.length - 1, Math.max(0, now + step)));
  });
}

/** A line through points [x, y], and a band between two such lines, as paths. */
function pathOf(points) {
  return "M" + points.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L");
}

function bandOf(upper, lower) {
  return pathOf([...upper, ...[...lower].reverse()]) + "Z";
}
