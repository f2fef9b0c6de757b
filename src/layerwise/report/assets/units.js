// Pages of layers and of their units, of which there are thousands: made when they are opened
const unitAddress = (layer, unit) => `#/${layer}/unit/${unit}`;

function fillLayer(root) {
  for (const list of all("[data-units]", root)) {
    const layer = data(`data-${list.dataset.units}`);
    for (let unit = 0; unit < layer.units; unit++)
      list.append(make("li", {}, make("a", { href: unitAddress(layer.address, unit) }, String(unit))));
  }
}

function unitPage([, address, number]) {
  const layer = data(`data-${address}`), unit = +number;
  if (!layer || unit >= layer.units) return null;
  const page = document.getElementById("unit").content.cloneNode(true);
  const slot = (name, act) => all(`[data-slot="${name}"]`, page).forEach(act);
  slot("title", each => each.append(`Unit ${unit}`));
  slot("layer", each => { each.append(layer.label); each.href = `#/${address}`; });
  slot("before", each => { if (unit) each.href = unitAddress(address, unit - 1); });
  slot("next", each => { if (unit + 1 < layer.units) each.href = unitAddress(address, unit + 1); });
  slot("strongest", each => each.append(...layer.strongest[unit].map((row, at) => rowItem(row, layer.states[unit][at]))));
  return { title: `Unit ${unit} of ${layer.label}`, nav: `#/${address}`, page };
}

function rowItem(row, state) {
  return make("li", {}, pictured() ? picture(row) : null, make("span", {}, named(row)), make("small", {}, `state ${digits(state)}`));
}

