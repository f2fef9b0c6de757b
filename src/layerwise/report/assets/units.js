// Pages of layers and of their units, of which there are thousands: made when they are opened
const unitAddress = (address, unit) => `#/${address}/unit/${unit}`;
const layerData = address => data(`data-${address}`);

// A picture out of a sheet of a layer; the sheet becomes a rule of the style sheet when it is first used
const sheets = new Map();
function cell(sheet, at, label, style = "") {
  if (!sheets.has(sheet)) {
    sheets.set(sheet, `sheet${sheets.size}`);
    document.head.append(make("style", {}, `.pic.${sheets.get(sheet)} { background-image: url("${sheet.address}"); --across: ${sheet.across}; --shape: ${sheet.shape}; }`));
  }
  return make("i", { class: `pic ${sheets.get(sheet)} ${style}`, role: "img", "aria-label": label,
    style: { "--i": at % sheet.across, "--j": Math.floor(at / sheet.across) } });
}

const selective = (layer, unit) => layer.told ? Math.abs(layer.told.auc[unit] - .5) : 0;
const tells = (layer, unit) => `${className(layer.told.best[unit])}${layer.told.auc[unit] < .5 ? " by being off" : ""}`;
const best = layer => Math.max(36, layer.sheet ? layer.sheet.width * Math.max(1, Math.round(44 / layer.sheet.width)) : 44);

function tile(layer, unit) {
  const about = `unit ${unit}` + (layer.told ? `: tells ${tells(layer, unit)}, area under the curve ${digits(layer.told.auc[unit])}` : "") +
    `; on for ${percent(layer.active[unit])}`;
  const drawn = layer.sheet ? cell(layer.sheet, unit, about, "weights") : pictured() ? picture(layer.strongest[unit][0])
    : make("span", {}, make("b", {}, String(unit)), layer.told ? ` ${tells(layer, unit)}` : "");
  return make("li", {}, make("a", { href: unitAddress(layer.address, unit), title: about }, drawn));
}

const orders = {
  index: () => 0,
  auc: (layer, a, b) => selective(layer, b) - selective(layer, a),
  active: (layer, a, b) => layer.active[b] - layer.active[a],
};
function fillLayer(root) {
  const list = root.querySelector("[data-units]");
  if (!list) return;
  const layer = layerData(list.dataset.units), buttons = all("[data-sort]", root);
  const fill = by => list.replaceChildren(...[...Array(layer.units).keys()]
    .sort((a, b) => orders[by](layer, a, b) || a - b).map(unit => tile(layer, unit)));
  list.style.setProperty("--w", `${best(layer)}px`);
  for (const button of buttons) button.addEventListener("click", () => {
    for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
    fill(button.dataset.sort);
  });
  fill("index");
}

function unitPage([, address, number]) {
  const layer = layerData(address), unit = +number;
  if (!layer || unit >= layer.units) return null;
  const page = document.getElementById("unit").content.cloneNode(true);
  const slot = name => page.querySelector(`[data-slot="${name}"]`);
  slot("title").append(`Unit ${unit}`);
  slot("lede").append(inShort(layer, unit));
  slot("layer").append(layer.label);
  slot("layer").href = `#/${address}`;
  for (const [name, to, words] of [["before", unit - 1, "← unit "], ["next", unit + 1, "unit "]])
    if (to >= 0 && to < layer.units) { slot(name).href = unitAddress(address, to); slot(name).append(words + to + (to > unit ? " →" : "")); }
    else slot(name).remove();
  fillWeights(slot("weights"), layer, unit);
  fillLiked(slot("liked"), layer, unit);
  fillDreamed(slot("dreamed"), layer, unit);
  fillRows(slot, layer, unit);
  fillTold(slot("told"), layer, unit);
  fillPlace(slot("place"), layer, unit);
  fillAblation(slot("ablation"), layer, unit);
  const out = Object.entries(layer.left_out);
  if (out.length) slot("left-out").querySelector("dl").append(...out.flatMap(([what, why]) => [make("dt", {}, what), make("dd", {}, why)]));
  else slot("left-out").remove();
  return { title: `Unit ${unit} of ${layer.label}`, nav: `#/${address}`, page };
}

function inShort(layer, unit) {
  const on = `Its state is clearly above 0 for ${percent(layer.active[unit])} of the rows.`;
  if (!layer.told) return on;
  const sure = selective(layer, unit) > layer.told.null;
  return sure ? `It tells ${tells(layer, unit)}: area under the curve ${digits(layer.told.auc[unit])}. ${on}`
    : `It tells no class better than chance would. ${on}`;
}

function fillWeights(figure, layer, unit) {
  const caption = figure.querySelector("figcaption");
  if (layer.sheet) {
    caption.append(make("b", {}, { weights: "Weights", projected: "Weights, brought down to the input", filters: "Filter" }[layer.pictured]),
      ` deepest colour ${digits(layer.scale, 2)}`);
    figure.append(cell(layer.sheet, unit, `weights of unit ${unit}`, "weights large"));
  } else if (layer.columns) {
    caption.append(make("b", {}, "Largest weights"), " by column");
    figure.append(bars(layer.columns[unit].map((column, at) => [layer.names[column], layer.values[unit][at]])));
  } else figure.remove();
}

function fillLiked(figure, layer, unit) {
  const note = figure.querySelector("figcaption span"), liked = layer.liked, at = liked ? liked.unit.indexOf(unit) : -1;
  if (!liked) { figure.remove(); return; }
  if (at < 0) {
    note.append("were sought for the most selective units of the layer only");
    figure.append(make("p", { class: "key" }, "This finds those of this unit: ", make("code", {}, layer.code.replace("#", unit))));
    return;
  }
  note.append(`starts agree to ${digits(liked.agreement[at], 2)}; state ${digits(liked.states[at])}, of random inputs ${digits(liked.random[at])} at most` +
    (liked.stuck[at] ? `; ${liked.stuck[at]} of ${liked.starts} starts got no gradient` : ""));
  if (liked.sheet) figure.append(make("p", { class: "likes" }, ...[...Array(liked.starts).keys()].map(start =>
    cell(liked.sheet, at * liked.starts + start, `favourite input ${start + 1}`))));
  else figure.append(bars(liked.columns[at].map((column, i) => [layer.names[column] ?? `column ${column + 1}`, liked.values[at][i]])));
}

function fillDreamed(figure, layer, unit) {
  const dreamed = layer.dreamed, at = dreamed ? dreamed.unit.indexOf(unit) : -1, note = figure.querySelector("figcaption span");
  if (!dreamed) { figure.remove(); return; }
  if (at < 0) {
    note.append("were drawn for the most selective units of the layer only");
    figure.append(make("p", { class: "key" }, "This draws those of this unit: ", make("code", {}, `${dreamed.call.replace("#", unit)}`)));
    return;
  }
  note.append(`of ${dreamed.steps} Gibbs steps each${dreamed.sheet ? "" : ": columns whose mean is furthest from that of the rows, in standard deviations"}`);
  if (dreamed.sheet) figure.append(make("p", { class: "likes" }, ...[...Array(dreamed.each).keys()].map(row =>
    cell(dreamed.sheet, at * dreamed.each + row, `dream ${row + 1}`))));
  else figure.append(bars(dreamed.columns[at].map((column, i) => [layer.names[column] ?? `column ${column + 1}`, dreamed.values[at][i]])));
}

function fillRows(slot, layer, unit) {
  let at = 0;
  for (const kind of ["strongest", "typical", "weakest"]) {
    const rows = layer[kind][unit];
    slot(kind).append(...rows.map((row, i) => rowItem(row, layer.states[unit][at + i], layer.boxes && layer.boxes[unit][at + i])));
    at += rows.length;
  }
}

function rowItem(row, state, box) {
  const shown = pictured() ? make("span", { class: "framed" }, picture(row), box ? make("i", { class: "box", style: {
    top: `${box[0] / 2.55}%`, height: `${(box[1] - box[0]) / 2.55}%`, left: `${box[2] / 2.55}%`, width: `${(box[3] - box[2]) / 2.55}%` } }) : null) : null;
  const text = data("gallery").texts[place(row)], sound = document.querySelector(`audio[data-row="${row}"]`);
  const unusual = (data("gallery").unusual[place(row)] ?? []).slice(0, 2);
  return make("li", {}, shown, text ? make("q", {}, text) : null,
    make("span", {}, className(data("gallery").true[place(row)])), ...unusual.map(([name, value]) => make("span", { class: "column" }, `${name} ${+value.toPrecision(4)}`)),
    make("small", {}, `state ${digits(state)}, row ${row}`),
    sound ? make("audio", { controls: "", preload: "none", src: sound.src, "aria-label": named(row) }) : null);
}

// Named values as bars to both sides of 0
function bars(pairs, unit = "") {
  const most = Math.max(...pairs.map(([, value]) => Math.abs(value ?? 0))) || 1, both = pairs.some(([, value]) => value < 0);
  return make("ul", { class: both ? "bars both" : "bars" }, ...pairs.map(([name, value, style]) => make("li", { class: style ?? null },
    make("span", { title: name }, name), make("i", { class: value < 0 ? "down" : "up", style: { "--share": Math.abs(value ?? 0) / most } }), make("b", {}, digits(value) + unit))));
}

function fillTold(section, layer, unit) {
  const told = layer.told;
  if (!told) { section.remove(); return; }
  section.querySelector(".class-bars").append(
    make("p", { class: "key" }, `Area under the curve for ${className(told.best[unit])}: `, make("b", {}, digits(told.auc[unit])),
      `; on shuffled labels one unit in twenty is off 0.5 by ${digits(told.null, 2)} or more`),
    bars(told.classes.map((code, at) => [className(code), told.means[unit][at], code === told.best[unit] ? "best" : null])));
}

function fillPlace(section, layer, unit) {
  const parts = section.querySelector(".split");
  for (const [title, wires] of [["Gets most from", layer.inputs], ["Gives most to", layer.outputs]]) if (wires) {
    const used = wires.share[unit].filter(each => each > 0).length, share = wires.share[unit].reduce((sum, each) => sum + (each ?? 0), 0);
    parts.append(make("div", {}, make("h3", {}, title, make("small", {}, ` ${wires.label}`)),
      links(wires.address, wires.units[unit].slice(0, used), wires.mean[unit]),
      make("p", { class: "key" }, used ? `these hold ${percent(share)} of all` : "nothing, on these rows")));
  }
  if (layer.nearest[unit].length) parts.append(make("div", {}, make("h3", {}, "Is most like"), links(layer.address, layer.nearest[unit], layer.likeness[unit])));
  if (!parts.children.length) section.remove();
}

const unitName = (layer, unit) => layer.kind === "scores of the classes" ? className(unit) : `unit ${unit}`;

function links(address, units, values) {
  const layer = layerData(address);
  return make("ul", { class: "wires" }, ...units.map((unit, at) => make("li", {}, make("a", { href: unitAddress(address, unit) },
    layer.sheet ? cell(layer.sheet, unit, "", "weights") : null, unitName(layer, unit)), make("b", { class: values[at] < 0 ? "below" : "above" }, digits(values[at], 2)))));
}

const exact = share => `${(100 * share).toFixed(1)}\u202f%`;
function fillAblation(section, layer, unit) {
  const found = layer.ablation, at = found ? found.changed[0].unit.indexOf(unit) : -1;
  if (!found) { section.remove(); return; }  // the reason stands below
  if (at < 0) {
    section.querySelector(".table-frame").replaceWith(make("p", {}, found.note),
      make("p", { class: "key" }, "This asks it of this unit: ", make("code", {}, `lens.ablate(net, "${layer.name}", [${unit}], rows, labels)`)));
    return;
  }
  const head = make("tr", {}, ...["", "as it is", ...found.changed.map(each => each.factor ? "doubled" : "off")].map((name, i) =>
    make(i ? "th" : "td", i ? { scope: "col", class: "r" } : {}, name)));
  const line = (name, before, after) => make("tr", {}, make("th", { scope: "row" }, name), make("td", { class: "r" }, before),
    ...after.map(value => make("td", { class: "r" }, value)));
  const body = make("tbody", {});
  const change = (after, before) => after === null ? "–" : `${exact(after)}${Math.abs(after - before) < 5e-4 ? "" : ` (${after > before ? "+" : "−"}${Math.abs(100 * (after - before)).toFixed(1)})`}`;
  if (found.accuracy !== null) {
    body.append(line("named rightly", exact(found.accuracy), found.changed.map(each => change(each.accuracy[at], found.accuracy))));
    found.classes.forEach((before, code) => { if (before !== null)
      body.append(line(className(code), exact(before), found.changed.map(each => change(each.classes[at][code], before)))); });
  }
  if (found.changed[0].flipped) body.append(line("another answer", "–", found.changed.map(each => exact(each.flipped[at]))));
  body.append(line("answers moved", "–", found.changed.map(each => each.moved[at] === null ? "–" : exact(each.moved[at]))));
  const answers = found.label && ["scores of the classes", "answers"].includes(layerData(found.address).kind);
  if (found.label && !answers) body.append(line(`${found.label} moved`, "–", found.changed.map(each => each.above[at] === null ? "–" : exact(each.above[at]))));
  section.querySelector(".table-frame").append(make("table", {}, make("thead", {}, head), body));
  const off = found.changed.find(each => each.factor === 0);
  if (found.label && off.far[at][0] > 0) section.querySelector(".split").append(make("div", {},
    make("h3", {}, answers ? "Without it, these answers move most" : `Without it, these units of ${found.label} move most`), links(found.address, off.most[at], off.far[at])));
  section.querySelector(".table-frame").after(make("p", { class: "key" }, `Over ${found.rows} rows. ${found.note}`));
}

