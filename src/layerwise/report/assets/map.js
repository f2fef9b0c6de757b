// The maps of codes: a class can be picked out, and the row under the pointer is told
(() => {
  const rows = data("map-data");
  if (!rows) return;
  const maps = all(".map-frame").map(frame => ({ frame, svg: frame.querySelector("svg"), dots: all(".dots circle", frame) }));
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
    map.frame.addEventListener("focus", () => { if (map.frame.matches(":focus-visible")) show(map, map.now ?? 0); });
    map.frame.addEventListener("blur", clear);
    map.frame.addEventListener("keydown", event => {
      if (event.key === "Escape") clear();
      if (event.key in sides) { event.preventDefault(); step(map, sides[event.key]); }
    });
  }
})();

