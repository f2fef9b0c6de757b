// Everything is in the page; nothing is fetched.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const percent = share => `${(100 * share).toFixed(share > .995 && share < 1 ? 1 : 0)}\u202f%`;
const digits = (value, count = 3) => value === null ? "–" :
  (value && Math.abs(value) < 1e-3 ? value.toExponential(1) : String(+value.toPrecision(count))).replaceAll("-", "−");

// Data in the page is read when it is first asked for
const held = new Map();
function data(id) {
  if (!held.has(id)) held.set(id, JSON.parse(document.getElementById(id)?.textContent ?? "null"));
  return held.get(id);
}

// An element with attributes and what is in it
function make(tag, attributes = {}, ...inside) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "style") for (const [property, set] of Object.entries(value)) made.style.setProperty(property, set);
    else if (value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...inside.filter(each => each !== null && each !== undefined));
  return made;
}

// A row of the data, by its number: where it stands in the gallery, its class, its picture, and what is to be said of it
const places = () => held.get("places") ?? held.set("places", new Map(data("gallery").numbers.map((row, at) => [row, at]))).get("places");
const place = row => places().get(row);
const pictured = () => "across" in data("gallery");
function className(code) { return code >= 0 ? data("gallery").classes[code] : "no label"; }
function named(row) { return `row ${row}, ${className(data("gallery").true[place(row)])}`; }
function picture(row) {
  const at = place(row), { across } = data("gallery");
  return make("i", { class: "pic", role: "img", "aria-label": named(row), style: { "--i": at % across, "--j": Math.floor(at / across) } });
}
function words(row) {
  const rows = data("gallery"), at = place(row), parts = [make("b", {}, className(rows.true[at]))];
  if (rows.said[at] >= 0) parts.push(make("div", { class: rows.true[at] >= 0 && rows.said[at] !== rows.true[at] ? "bad" : null },
    `answer: ${className(rows.said[at])}, ${percent(rows.sure[at])}`));
  for (const [name, value, far] of rows.unusual[at] ?? [])
    parts.push(make("div", {}, `${name} ${+value.toPrecision(4)} (${far > 0 ? "+" : "−"}${Math.abs(far).toFixed(1)} s.d.)`));
  if (rows.texts[at]) parts.push(make("div", {}, rows.texts[at]));
  parts.push(make("small", {}, `row ${row}`));
  return parts;
}

// The row under the pointer, beside what stands for it
const tip = document.getElementById("tip");
function tell(row, beside) {
  tip.replaceChildren(...(pictured() ? [picture(row)] : []), make("div", {}, ...words(row)));
  tip.hidden = false;
  const spot = beside.getBoundingClientRect(), box = tip.getBoundingClientRect();
  const left = spot.right + 12 + box.width < innerWidth ? spot.right + 12 : Math.max(8, spot.left - 12 - box.width);
  const top = Math.min(Math.max(8, (spot.top + spot.bottom - box.height) / 2), innerHeight - box.height - 8);
  tip.style.transform = `translate(${left}px, ${top}px)`;
}

// Printing shows everything
addEventListener("beforeprint", () => all("details").forEach(details => { details.open = true; }));

