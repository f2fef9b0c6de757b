// What the page does beyond being read: marks the section in view, picks out a class on the maps, and shows the row under the
// pointer. Everything is in the page; nothing is fetched.
"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // The section in view, in the contents
  const links = new Map(all(".contents a").map(a => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) {
      for (const a of links.values()) a.removeAttribute("aria-current");
      const link = links.get(entry.target.id), list = link.closest("ol");
      link.setAttribute("aria-current", "true");
      if (list.scrollWidth > list.clientWidth) list.scrollTo({ left: link.offsetLeft - list.offsetLeft - 40 });
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  all("main > section").forEach(section => seen.observe(section));

  // Printing shows everything
  addEventListener("beforeprint", () => all("details").forEach(details => { details.open = true; }));

  const holder = document.getElementById("map-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent), tip = document.getElementById("tip"), sheet = document.getElementById("sheet");
  const maps = all(".map-frame").map(frame => ({ frame, svg: frame.querySelector("svg"), dots: all(".dots circle", frame) }));
  const places = map => map.places ??= map.dots.map(dot => [+dot.getAttribute("cx"), +dot.getAttribute("cy")]);
  const percent = share => `${(100 * share).toFixed(share > .995 ? 1 : 0)} %`;

  // A class alone
  const buttons = all(".legend button");
  for (const button of buttons) button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    for (const other of buttons) other.setAttribute("aria-pressed", String(on && other === button));
    for (const { dots } of maps) dots.forEach((dot, i) => dot.classList.toggle("faded", on && data.true[i] !== +button.dataset.class));
  });

  // A row: its picture, its class and the answer
  function words(i) {
    const parts = [], add = (tag, text, style) => {
      const part = document.createElement(tag);
      part.textContent = text;
      if (style) part.className = style;
      parts.push(part);
    };
    add("b", data.true[i] >= 0 ? data.classes[data.true[i]] : "no label");
    if (data.said[i] >= 0) add("div", `answer: ${data.classes[data.said[i]]}, ${percent(data.sure[i])}`,
      data.true[i] >= 0 && data.said[i] !== data.true[i] ? "bad" : "");
    for (const [name, value, far] of data.unusual[i] ?? [])
      add("div", `${name} ${+value.toPrecision(4)} (${far > 0 ? "+" : "−"}${Math.abs(far).toFixed(1)} s.d.)`);
    if (data.texts[i]) add("div", data.texts[i]);
    add("small", `row ${data.rows[i]}`);
    return parts;
  }

  function draw(i) {
    const canvas = tip.querySelector("canvas");
    if (!canvas || !sheet) return;
    const { width, height, across } = data, large = Math.max(1, Math.round(72 / width));
    canvas.width = width; canvas.height = height;
    canvas.style.width = `${width * large}px`;
    canvas.getContext("2d").drawImage(sheet, (i % across) * width, Math.floor(i / across) * height, width, height, 0, 0, width, height);
  }

  function show(map, i) {
    clear();
    map.now = i;
    for (const { dots } of maps) dots[i].classList.add("here");
    draw(i);
    tip.querySelector("div").replaceChildren(...words(i));
    tip.hidden = false;
    const dot = map.dots[i].getBoundingClientRect(), box = tip.getBoundingClientRect();
    const left = dot.right + 12 + box.width < innerWidth ? dot.right + 12 : Math.max(8, dot.left - 12 - box.width);
    const top = Math.min(Math.max(8, dot.top - box.height / 2), innerHeight - box.height - 8);
    tip.style.transform = `translate(${left}px, ${top}px)`;
  }

  function clear() {
    tip.hidden = true;
    all(".dots .here").forEach(dot => dot.classList.remove("here"));
  }

  function nearest(map, x, y, reach) {
    let best = -1, least = reach * reach;
    places(map).forEach(([px, py], i) => {
      const far = (px - x) ** 2 + (py - y) ** 2;
      if (far < least && !map.dots[i].classList.contains("faded")) { least = far; best = i; }
    });
    return best;
  }

  // Arrow keys go to the nearest row on that side
  const sides = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  function step(map, [dx, dy]) {
    const [x, y] = places(map)[map.now ?? 0];
    let best = map.now ?? 0, least = Infinity;
    places(map).forEach(([px, py], i) => {
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
