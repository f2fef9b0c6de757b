// The maps of codes: a layer can be chosen, a class picked out, and the row under the pointer is told, or opened if it has a page
(() => {
  const drawn = data("map-data");
  if (!drawn) return;
  const { rows, panels } = drawn, paged = new Set(drawn.paged);
  const maps = all(".map-frame").map(frame => ({ frame, svg: frame.querySelector("svg"), dots: all(".dots circle", frame),
    names: all("text.middle", frame), title: frame.parentElement.querySelector("b"), said: frame.parentElement.querySelector("figcaption span") }));
  document.querySelector(".map-tools").hidden = false;
  for (const { dots } of maps) dots.forEach((dot, i) => dot.classList.toggle("paged", paged.has(rows[i])));

  // Another layer: the same rows go to other places
  document.getElementById("space")?.addEventListener("change", event => {
    clear();
    for (const map of maps) {
      const panel = panels.find(each => each.space === event.target.value && each.method === map.frame.dataset.method);
      map.frame.parentElement.hidden = !panel;
      if (!panel) continue;
      const { points, middles } = panel;
      map.dots.forEach((dot, i) => { dot.setAttribute("cx", points[2 * i] / 10); dot.setAttribute("cy", points[2 * i + 1] / 10); });
      map.names.forEach((name, i) => { name.setAttribute("x", middles[2 * i] / 10); name.setAttribute("y", middles[2 * i + 1] / 10 + 6); });
      map.title.textContent = `${panel.space}, ${panel.method}`;
      map.said.textContent = panel.said;
      map.frame.setAttribute("aria-label", map.frame.getAttribute("aria-label").replace(/^.*? by /, `${panel.space} by `));
      map.spots = null;
      if (map.frame.querySelector(".pictures")) drawPictures(map);
    }
  });

  // Pictures in place of dots, as many as lie beside each other
  document.getElementById("pictured")?.addEventListener("change", event => {
    for (const map of maps) if (event.target.checked) drawPictures(map); else map.frame.querySelector(".pictures")?.remove();
  });
  function drawPictures(map) {
    map.frame.querySelector(".pictures")?.remove();
    const shown_at = [], layer = make("div", { class: "pictures" }), { true: classes } = data("gallery");
    spots(map).forEach(([x, y], i) => {
      if (shown_at.some(([a, b]) => Math.max(Math.abs(a - x), Math.abs(b - y)) < 20)) return;
      shown_at.push([x, y]);
      const shown = picture(rows[i]);
      shown.style.left = `${x / 4}%`; shown.style.top = `${y / 4}%`;
      shown.removeAttribute("role"); shown.setAttribute("aria-hidden", "true"); shown.removeAttribute("aria-label");
      const code = classes[place(rows[i])];
      if (code >= 0) shown.style.outline = `1.5px solid var(--c${code % 10})`;
      layer.append(shown);
    });
    map.frame.append(layer);
  }
  const go = i => { if (i >= 0 && paged.has(rows[i])) location.hash = `#/answer/${rows[i]}`; };
  const spots = map => map.spots ??= map.dots.map(dot => [+dot.getAttribute("cx"), +dot.getAttribute("cy")]);

  const buttons = all(".legend button");
  for (const button of buttons) button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true", wanted = +button.dataset.class, { true: classes } = data("gallery");
    for (const other of buttons) other.setAttribute("aria-pressed", String(on && other === button));
    for (const { dots } of maps) dots.forEach((dot, i) => dot.classList.toggle("faded", on && classes[place(rows[i])] !== wanted));
  });

  function show(map, i) {
    clear();
    map.now = i;
    for (const { dots } of maps) dots[i].classList.add("here");
    map.frame.classList.toggle("opens", paged.has(rows[i]));
    tell(rows[i], map.dots[i]);
  }

  function clear() {
    tip.hidden = true;
    all(".dots .here").forEach(dot => dot.classList.remove("here"));
  }

  function nearest(map, x, y, reach) {
    let best = -1, least = reach * reach;
    spots(map).forEach(([px, py], i) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least && !map.dots[i].classList.contains("faded")) { least = far; best = i; }
    });
    return best;
  }

  // Arrow keys go to the nearest row on that side
  const sides = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function step(map, [dx, dy]) {
    const [x, y] = spots(map)[map.now ?? 0];
    let best = map.now ?? 0, least = Infinity;
    spots(map).forEach(([px, py], i) => {
      if (map.dots[i].classList.contains("faded")) return;
      const along = (px - x) * dx + (py - y) * dy, beside = Math.abs((px - x) * dy) + Math.abs((py - y) * dx);
      if (along > .01 && along + 2 * beside < least) { least = along + 2 * beside; best = i; }
    });
    show(map, best);
  }

  for (const map of maps) {
    map.frame.addEventListener("pointermove", event => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.svg.getScreenCTM().inverse());
      const i = nearest(map, at.x, at.y, 14);
      if (i >= 0) show(map, i); else clear();
    });
    map.frame.addEventListener("pointerleave", clear);
    map.frame.addEventListener("click", event => {
      const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(map.svg.getScreenCTM().inverse());
      go(nearest(map, at.x, at.y, 14));
    });
    map.frame.addEventListener("focus", () => { if (map.frame.matches(":focus-visible")) show(map, map.now ?? 0); });
    map.frame.addEventListener("blur", clear);
    map.frame.addEventListener("keydown", event => {
      if (event.key === "Escape") clear();
      if (event.key === "Enter") go(map.now ?? -1);
      if (event.key in sides) { event.preventDefault(); step(map, sides[event.key]); }
    });
  }
})();

