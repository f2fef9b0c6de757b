// Pages have addresses after the #: "#/" is the overview, "#/layer3" and "#/answer/12" are templates with that data-route, and
// units are made by a function. What does not begin with "#/" is a section of the overview.
const overview = document.getElementById("overview"), page = document.getElementById("page"), title = document.title;
const made = [[/^\/([^/]+)\/unit\/(\d+)$/, unitPage]];  // addresses of pages that a function makes; null if there is none
const fill = [fillLayer];  // what is done to a template's content before it is shown
const sections = new Map(all(".sections a").map(a => [a.hash.slice(1), a]));

function find(route) {
  for (const [pattern, make] of made) {
    const match = route.match(pattern);
    if (match) return make(match);
  }
  const template = all("template[data-route]").find(each => each.dataset.route === route);
  if (!template) return null;
  const content = template.content.cloneNode(true);
  for (const each of fill) each(content);
  return { title: template.dataset.title, nav: template.dataset.nav ?? `#${route}`, page: content };
}

function unknown(route) {
  const content = new DocumentFragment();
  content.append(make("h1", {}, "There is no such page"), make("p", { class: "lede" }, `This report has nothing at “${route}”. `,
    make("a", { href: "#/" }, "Go to the overview"), "."));
  return { title: "No such page", nav: "", page: content };
}

let shown = "/";
function open(top) {
  const hash = location.hash, route = hash.startsWith("#/") ? hash.slice(1) : overview.querySelector(`[id="${hash.slice(1)}"]`) || !hash ? "/" : shown;
  const found = route === "/" ? { title: "", nav: "#/", page: null } : find(route) ?? unknown(route);
  if (route !== shown) {
    page.replaceChildren(...(found.page ? [found.page] : []));
    page.hidden = !found.page;
    overview.hidden = !page.hidden;
    tip.hidden = true;
    document.title = found.title ? `${found.title} · ${title}` : title;
    document.body.classList.toggle("inside", !page.hidden);
    if (!page.hidden) for (const a of sections.values()) a.removeAttribute("aria-current");
    for (const a of all(".contents > ol > li > a")) {
      if (a.getAttribute("href") === found.nav) a.setAttribute("aria-current", "page"); else a.removeAttribute("aria-current");
    }
    shown = route;
    scrollTo({ top, behavior: "instant" });
    if (route === "/" && hash.length > 2) document.getElementById(hash.slice(1))?.scrollIntoView({ behavior: "instant" });
  }
}

// Going back leads to where one was
history.scrollRestoration = "manual";
let waiting;
addEventListener("scroll", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState({ top: scrollY }, ""), 100);
}, { passive: true });
addEventListener("popstate", event => open(event.state?.top ?? 0));

// The section of the overview in view
const watched = new IntersectionObserver(entries => {
  for (const entry of entries) if (entry.isIntersecting) {
    for (const a of sections.values()) a.removeAttribute("aria-current");
    const link = sections.get(entry.target.id), list = link.closest("nav");
    link.setAttribute("aria-current", "true");
    if (list.scrollWidth > list.clientWidth) list.scrollTo({ left: link.offsetLeft - list.offsetLeft - 40 });
  }
}, { rootMargin: "-20% 0px -70% 0px" });
all("section", overview).forEach(section => watched.observe(section));
open(history.state?.top ?? 0);

