// Tables of class "data": sorted by a column, filtered, with columns chosen, downloaded as they are shown.

const FEW = 6; // rows that need no search

/** The number of a cell: as declared, or the first one in its text, with its unit. */
function numberOf(cell) {
  if (!cell) return null;
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const found = /^[^\d\-−]*([-−]?[\d,]*\.?\d+(?:e[-+]?\d+)?)\s*(KiB|MiB|GiB|ms|min|h|K|M)?/i.exec(cell.textContent.trim());
  if (!found) return null;
  const sizes = { kib: 1024, mib: 1024 ** 2, gib: 1024 ** 3, ms: 0.001, min: 60, h: 3600, k: 1e3, m: 1e6 };
  return Number(found[1].replaceAll(",", "").replace("−", "-")) * (sizes[(found[2] || "").toLowerCase()] || 1);
}

/** A row's name without what it is in small type. */
function nameOf(cell) {
  return [...cell.childNodes].filter((node) => node.nodeName !== "SMALL").map((node) => node.textContent).join("").trim();
}

class DataTable {
  constructor(table) {
    this.table = table;
    this.headings = [...table.tHead.rows[0].cells];
    this.grouped = table.classList.contains("comparison");
    this.bodies = this.grouped ? [...table.querySelectorAll("tbody.line")] : [...table.tBodies[0].rows];
    this.families = [...table.querySelectorAll("tbody.family")];
    this.order = [...(this.grouped ? table.tBodies : table.tBodies[0].rows)];
    this.hidden = this.headings.map((heading) => heading.classList.contains("more"));
    this.most = Number(table.dataset.shown || 0) || Infinity; // rows until more are asked for
    this.now = this.bodies; // as they are sorted
    this.words = "";
    this.family = "";
    this.sorted = null;
    this.headings.forEach((heading, place) => this.sortable(heading, place));
    this.nothing = html("p", { class: "nothing", hidden: true }, "No row has these words.");
    table.after(this.nothing);
    if (this.bodies.length > FEW || this.grouped) table.closest(".scroll").before(this.tools());
    if (this.hidden.includes(true)) this.showColumns();
    this.filter();
  }

  /** The row of cells of a line; a strategy that only failed has none. */
  cells(body) {
    const row = this.grouped ? body.rows[0] : body;
    return row.cells.length === this.headings.length ? [...row.cells] : null;
  }

  sortable(heading, place) {
    const press = html("button", { type: "button" });
    press.append(...heading.childNodes);
    heading.append(press);
    press.addEventListener("click", () => this.sort(place));
  }

  /** Ascending, descending, as written. Numbers start where better is: the highest, or the lowest. */
  sort(place) {
    const heading = this.headings[place];
    const numeric = place > 0 && this.bodies.some((body) => numberOf((this.cells(body) || [])[place]) !== null);
    const first = numeric && !heading.textContent.includes("↓") ? -1 : 1;
    const before = this.sorted && this.sorted.place === place ? this.sorted.direction : 0;
    this.sorted = before === -first ? null : { place, direction: before ? -first : first };
    this.headings.forEach((each) => each.removeAttribute("aria-sort"));
    if (this.sorted) heading.setAttribute("aria-sort", this.sorted.direction === 1 ? "ascending" : "descending");
    this.arrange(numeric);
  }

  arrange(numeric) {
    let rows = this.order;
    if (this.sorted) {
      const { place, direction } = this.sorted;
      const key = (body) => {
        const cell = (this.cells(body) || [])[place];
        return numeric ? numberOf(cell) : place === 0 ? nameOf((this.cells(body) || this.first(body))[0]) : cell ? cell.textContent : null;
      };
      const keyed = this.bodies.map((body) => [key(body), body]);
      const compare = numeric ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
      keyed.sort(([a], [b]) => (a === null ? 1 : 0) - (b === null ? 1 : 0) || (a === null ? 0 : direction * compare(a, b)));
      rows = keyed.map(([, body]) => body);
    }
    this.now = rows.filter((row) => this.bodies.includes(row));
    (this.grouped ? this.table : this.table.tBodies[0]).append(...rows);
    this.filter();
  }

  first(body) {
    return (this.grouped ? body.rows[0] : body).cells;
  }

  filter() {
    const words = this.words.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    const most = words.length || this.family ? Infinity : this.most;
    for (const body of this.now) {
      const text = (body.textContent + " " + (body.dataset.family || "")).toLowerCase();
      const right = words.every((word) => text.includes(word)) && (!this.family || body.dataset.family === this.family);
      body.hidden = !right || shown >= most;
      shown += !body.hidden;
    }
    for (const heading of this.families) {
      const name = heading.textContent.trim();
      heading.hidden = this.sorted !== null || !this.bodies.some((body) => !body.hidden && body.dataset.family === name);
    }
    this.nothing.hidden = shown > 0;
    if (this.status) this.status.textContent = shown === this.bodies.length ? `${shown} rows` : `${shown} of ${this.bodies.length} rows`;
  }

  showColumns() {
    const visible = this.hidden.filter((hidden) => !hidden).length;
    const words = this.headings.filter((_, place) => !this.hidden[place]).flatMap((each) => each.textContent.split(/\s+/));
    this.table.classList.toggle("broad", visible > 14 || words.some((word) => word.length > 12)); // on a wide page, where it is printed
    for (const row of this.table.rows) {
      if (row.cells.length === this.headings.length) {
        this.hidden.forEach((hidden, place) => { row.cells[place].hidden = hidden; });
      } else if (row.cells[1]) row.cells[1].colSpan = visible - 1;
    }
  }

  /** What is shown, the numbers as declared, the names as in summary.csv. */
  content() {
    const places = this.hidden.map((hidden, place) => place).filter((place) => !this.hidden[place]);
    const keys = places.map((place) => this.headings[place].dataset.key || this.headings[place].textContent.trim());
    const rows = (this.grouped ? [...this.table.querySelectorAll("tbody.line")] : [...this.table.tBodies[0].rows])
      .filter((body) => !body.hidden && this.cells(body))
      .map((body) => places.map((place) => {
        const cell = this.cells(body)[place];
        if (place === 0) return nameOf(cell);
        return cell.dataset.value !== undefined ? Number(cell.dataset.value) : cell.textContent.trim();
      }));
    return [keys, rows];
  }

  save(kind) {
    const [keys, rows] = this.content();
    const name = (this.table.dataset.name || "table").toLowerCase().replace(/[^a-z0-9]+/g, "_");
    if (kind === "csv") download(name + ".csv", "text/csv", csvLine(keys) + rows.map(csvLine).join(""));
    else download(name + ".json", "application/json", JSON.stringify(rows.map((row) => Object.fromEntries(keys.map((key, place) => [key, row[place]]))), null, 2) + "\n");
  }

  /** A button for the rows that are left out at first; a search goes through all of them. */
  all() {
    const few = this.most, press = button(`Show all ${this.bodies.length}`, () => {
      this.most = this.most === few ? Infinity : few;
      press.textContent = this.most === few ? `Show all ${this.bodies.length}` : `Show ${few}`;
      this.filter();
    });
    return press;
  }

  tools() {
    const search = html("input", { type: "search", placeholder: "words in a row" });
    search.addEventListener("input", () => { this.words = search.value; this.filter(); });
    const families = [...new Set(this.bodies.map((body) => body.dataset.family).filter(Boolean))];
    this.status = html("span", { class: "status", role: "status" });
    return html("div", { class: "tools" },
      html("label", { class: "find" }, "Find", search),
      families.length > 1 ? choice("Family", [["", "all"], ...families.map((name) => [name, name])], "", (name) => { this.family = name; this.filter(); }) : null,
      this.grouped ? checklist("Columns", "Columns shown", this.headings.slice(1).map((heading, place) => (
        { text: heading.textContent.trim(), hint: heading.title, on: !this.hidden[place + 1] })),
        (place, on) => { this.hidden[place + 1] = !on; this.showColumns(); }) : null,
      this.most < this.bodies.length ? this.all() : null,
      button("CSV", () => this.save("csv")),
      button("JSON", () => this.save("json")),
      this.status);
  }
}
