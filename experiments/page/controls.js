// A select, a list of checkboxes, a download.

function choice(label, options, chosen, changed) {
  const select = html("select", {}, ...options.map(([value, text]) => html("option", { value, selected: value === chosen }, text)));
  select.addEventListener("change", () => changed(select.value));
  return html("label", {}, label, select);
}

/** A button that opens a list of checkboxes; Escape closes it. */
function checklist(title, legend, entries, changed) {
  const boxes = entries.map(({ text, hint, on }, place) => {
    const box = html("input", { type: "checkbox", checked: on });
    box.addEventListener("change", () => changed(place, box.checked));
    return html("label", { title: hint || null }, box, text);
  });
  const details = html("details", { class: "choose" }, html("summary", {}, title), html("fieldset", {}, html("legend", {}, legend), ...boxes));
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    details.open = false;
    details.querySelector("summary").focus();
  });
  document.addEventListener("click", (event) => {
    if (!details.contains(event.target)) details.open = false;
  });
  return details;
}

function button(text, clicked) {
  const node = html("button", { type: "button" }, text);
  node.addEventListener("click", clicked);
  return node;
}

function download(name, type, content) {
  const url = URL.createObjectURL(new Blob([content], { type }));
  html("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** A line of CSV; a text that a spreadsheet would compute begins with an apostrophe. */
function csvLine(cells) {
  return cells.map((cell) => {
    if (cell === null) return "";
    if (typeof cell === "number") return String(cell);
    const text = /^[=+\-@\t\r]/.test(cell) ? "'" + cell : cell;
    return /[",\n\r]/.test(text) ? '"' + text.replaceAll('"', '""') + '"' : text;
  }).join(",") + "\r\n";
}
