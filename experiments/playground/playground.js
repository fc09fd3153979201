// Messages in, answers out: one question to the server for each classifier, shown as they come.

const about = JSON.parse(document.getElementById("about").textContent);
const field = document.getElementById("messages"), status = document.getElementById("status");
const answers = document.getElementById("answers");

async function ask(what, question) {
  const response = await fetch(what, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(question) });
  const content = await response.json();
  if (!response.ok) throw new Error(typeof content.detail === "string" ? content.detail : "the server does not understand the question");
  return content;
}

const share = (value) => (100 * value).toFixed(2) + " %";
const time = (seconds) => (seconds < 1 ? `${(1000 * seconds).toFixed(1)} ms` : `${seconds.toFixed(2)} s`);

/** A label that may be wrapped before its signs and behind underscores. */
function nameCell(label) {
  const parts = label.split(/(?=[@+])|(?<=_)/);
  return html("th", { scope: "row" }, ...parts.flatMap((part, place) => (place ? [html("wbr", {}), part] : [part])));
}

/** A card for each message, with an empty table of answers. */
function card(text) {
  const body = html("tbody", {});
  const heads = ["strategy", "label", "probability", "time", ""].map((name) => html("th", { scope: "col" }, name));
  const split = html("p", { class: "split", hidden: true });
  const node = html("div", { class: "message" }, html("p", {}, text), split,
    html("div", { class: "scroll" }, html("table", {}, html("thead", {}, html("tr", {}, ...heads)), body)));
  return { text, node, body, split, said: [] };
}

function answered(one, run, answer, seconds) {
  const meter = html("meter", { min: 0, max: 1, value: answer.probability, "aria-hidden": "true" });
  const why = html("button", { type: "button", "aria-expanded": "false" }, "why");
  const row = html("tr", { "data-run": run.id }, nameCell(run.label), html("td", { class: "label" }, answer.label),
    html("td", { class: "probability", "data-value": answer.probability }, meter, share(answer.probability)), html("td", {}, time(seconds)), html("td", {}, why));
  one.body.append(row);
  one.said.push({ row, label: answer.label });
  why.addEventListener("click", () => explain(one, run, answer, row, why));
}

/** Tokens coloured by what they add, under the answer that they add it to. */
async function explain(one, run, answer, row, why) {
  if (why.getAttribute("aria-expanded") === "true") {
    row.nextSibling.remove();
    why.setAttribute("aria-expanded", "false");
    return;
  }
  why.disabled = true;
  try {
    const { pieces } = await ask("influence", { run: run.id, text: one.text });
    const largest = Math.max(...pieces.map((piece) => Math.abs(piece.influence)), 1e-12);
    const spans = pieces.map((piece) => {
      const level = Math.min(3, Math.round((3 * Math.abs(piece.influence)) / largest));
      const side = piece.influence > 0 ? "for" : "against";
      return html("span", { class: level ? `${side}-${level}` : null, title: `${piece.influence > 0 ? "+" : "−"}${Math.abs(piece.influence).toPrecision(3)}`, "data-influence": piece.influence }, piece.text);
    });
    const legend = html("small", {}, `Blue speaks for “${answer.label}”, orange against it; the number is under the pointer.`);
    row.after(html("tr", {}, html("td", { class: "says", colspan: 5 }, html("div", { class: "pieces" }, ...spans), legend)));
    why.setAttribute("aria-expanded", "true");
  } catch (error) {
    status.textContent = error.message;
  }
  why.disabled = false;
}

/** Say so where the classifiers differ, and mark those that are not with the most. */
function compared(one) {
  const counts = new Map();
  for (const { label } of one.said) counts.set(label, (counts.get(label) || 0) + 1);
  if (counts.size < 2) return;
  const most = Math.max(...counts.values());
  one.split.hidden = false;
  one.split.textContent = "They disagree: " + [...counts].map(([label, count]) => `${count} × ${label}`).join(", ");
  for (const { row, label } of one.said) row.classList.toggle("odd", counts.get(label) < most);
}

async function classify() {
  const texts = field.value.split("\n").filter((line) => line.trim());
  if (!texts.length || texts.length > about.most) {
    status.textContent = texts.length ? `At most ${about.most} messages at once.` : "Write a message first.";
    return;
  }
  const cards = texts.map(card);
  answers.replaceChildren(...cards.map((one) => one.node));
  for (const [place, run] of about.runs.entries()) {
    status.textContent = `Asking ${run.label} (${place + 1} of ${about.runs.length})`;
    try {
      const found = await ask("classify", { run: run.id, texts });
      found.answers.forEach((answer, number) => answered(cards[number], run, answer, found.seconds));
    } catch (error) {
      for (const one of cards) one.body.append(html("tr", { class: "failed" }, html("th", { scope: "row" }, run.label), html("td", { class: "says", colspan: 4 }, error.message)));
    }
  }
  cards.forEach(compared);
  const split = cards.filter((one) => !one.split.hidden).length;
  status.textContent = `${texts.length} ${texts.length === 1 ? "message" : "messages"}, ${about.runs.length} classifiers; they disagree on ${split}.`;
}

function disputed() {
  if (!about.examples.length) return;
  const entries = about.examples.map((example) => {
    const said = Object.entries(example.said).map(([label, count]) => `${count} × ${label}`).join(", ");
    const press = html("button", { type: "button" }, example.text, html("small", {}, `true: ${example.truth}; said: ${said}`));
    press.addEventListener("click", () => { field.value = example.text.replaceAll("\n", " "); field.focus(); document.getElementById("ask").requestSubmit(); });
    return html("li", {}, press);
  });
  document.getElementById("disputed").append(html("h2", {}, "Test messages on which they disagree"), html("ul", { class: "disputed" }, ...entries));
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const press = event.target.querySelector("button");
  press.disabled = true;
  classify().finally(() => { press.disabled = false; });
});
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) document.getElementById("ask").requestSubmit();
});
disputed();
