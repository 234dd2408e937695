// The timeline under mouse, fingers and keys: drag to move, Ctrl and the wheel or two fingers to zoom, drag over the strip to choose a part.
// Each only changes the address and fetches what it names, as the links beside it do.

const SHORTEST_MS = 10;
const CLICK_PX = 4;
const SETTLE_MS = 160; // turns of a wheel that follow one another are one step
const ONE_STEP_MS = 1500; // and steps so close together are one entry of the history
const KEYS = { a: "earlier", d: "later", w: "in", s: "out", "+": "in", "=": "in", "-": "out", 0: "fit", ArrowLeft: "earlier", ArrowRight: "later" };

const picture = () => document.getElementById("timeline");
const range = (element) => ({ from: Number(element.dataset.from), to: Number(element.dataset.to) });
let wanted = location.search;
let wentAt = 0;
let drag = null;

// --- Going somewhere: the address, then what it names ----------------------------------

function show(search) {
  wanted = search;
  window.htmx.ajax("GET", search || location.pathname, { source: "#main", target: "#main", select: "#main", swap: "outerMorph", stepped: search });
}

function go(search) {
  if (!window.htmx) { location.search = search; return; }
  const isSameStep = Date.now() - wentAt < ONE_STEP_MS;
  wentAt = Date.now();
  if (search !== location.search) history[isSameStep ? "replaceState" : "pushState"](history.state, "", search);
  show(search);
}

function goTo(from, to) {
  const start = Math.max(0, Math.round(from));
  const end = Math.max(start + SHORTEST_MS, Math.round(to));
  const search = new URLSearchParams(location.search);
  for (const name of ["span", "page"]) search.delete(name);
  search.set("from", start);
  search.set("to", end);
  go(`?${search}`);
}

addEventListener("popstate", () => { wentAt = 0; show(location.search); });

// An answer that was overtaken by another step is dropped.
document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail;
  if (ctx && ctx.stepped !== undefined && ctx.stepped !== wanted) event.preventDefault();
});

// Nothing is fetched under a hand that drags.
document.addEventListener("htmx:before:request", (event) => {
  const { ctx } = event.detail;
  if (drag && ctx && ctx.sourceElement === picture()) event.preventDefault();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("#timeline a[data-step], .pager a[rel]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

// --- Keys -------------------------------------------------------------------------------

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (/^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const link = Object.hasOwn(KEYS, event.key) && document.querySelector(`#timeline [data-step="${KEYS[event.key]}"]`);
  if (!link) return;
  event.preventDefault();
  link.click();
});

// --- Mouse and fingers --------------------------------------------------------------------

const hands = new Map(); // pointer id → x

function within(element, x) {
  const box = element.getBoundingClientRect();
  return Math.min(1, Math.max(0, (x - box.left) / box.width));
}

function slide(px) {
  for (const group of document.querySelectorAll("#timeline .pan")) group.setAttribute("transform", `translate(${px} 0)`);
}

function brush(strip, first, second) {
  const svg = strip.querySelector("svg");
  let mark = svg.querySelector(".brush");
  if (!mark) {
    mark = document.createElementNS(svg.namespaceURI, "rect");
    mark.setAttribute("class", "brush");
    mark.setAttribute("height", "100%");
    svg.append(mark);
  }
  mark.setAttribute("x", `${100 * Math.min(first, second)}%`);
  mark.setAttribute("width", `${100 * Math.abs(second - first)}%`);
}

document.addEventListener("pointerdown", (event) => {
  const area = event.target.closest && event.target.closest("#timeline .track, #timeline .strip");
  if (!area || event.button !== 0) return;
  hands.set(event.pointerId, event.clientX);
  if (hands.size === 2 && drag) {
    const [one, other] = [...hands.values()];
    drag.pinch = Math.max(1, Math.abs(one - other));
    return;
  }
  drag = { area, x: event.clientX, last: event.clientX, id: event.pointerId, moved: false, pinch: 0 };
});

document.addEventListener("pointermove", (event) => {
  if (!drag || !hands.has(event.pointerId)) return;
  hands.set(event.pointerId, event.clientX);
  if (drag.pinch) return;
  drag.last = event.clientX;
  if (!drag.moved && Math.abs(drag.last - drag.x) < CLICK_PX) return;
  drag.moved = true;
  picture().classList.add("dragged");
  if (drag.area.matches(".strip")) brush(drag.area, within(drag.area, drag.x), within(drag.area, drag.last));
  else slide(drag.last - drag.x);
});

function drop(event) {
  if (!drag || !hands.has(event.pointerId)) return;
  const at = [...hands.values()];
  hands.clear();
  const { area, x, last, moved, pinch } = drag;
  drag = null;
  const element = picture();
  element.classList.remove("dragged");
  if (event.type === "pointercancel") { slide(0); return; }
  if (pinch && at.length === 2) zoomAt(area, (at[0] + at[1]) / 2, pinch / Math.max(1, Math.abs(at[0] - at[1])));
  else if (moved && area.matches(".strip")) choose(area, within(area, x), within(area, last));
  else if (moved) move(area, last - x);
  if (!moved) return;
  addEventListener("click", swallow, { capture: true, once: true }); // the click that ends a drag opens nothing
  setTimeout(() => removeEventListener("click", swallow, { capture: true }), 0);
}

function swallow(event) {
  event.preventDefault();
  event.stopPropagation();
}

document.addEventListener("pointerup", drop);
document.addEventListener("pointercancel", drop);
document.addEventListener("dragstart", (event) => { if (event.target.closest && event.target.closest("#timeline .track, #timeline .strip")) event.preventDefault(); });

function move(area, px) {
  const { from, to } = range(picture());
  const ms = (px / area.getBoundingClientRect().width) * (to - from);
  goTo(from - ms, to - ms);
}

function choose(strip, one, other) {
  const first = Number(picture().dataset.first);
  const last = Number(picture().dataset.last);
  goTo(first + Math.min(one, other) * (last - first), first + Math.max(one, other) * (last - first));
}

/** The moment under x stays where it is. */
function zoomAt(area, x, factor) {
  const { from, to } = range(picture());
  const at = from + within(area, x) * (to - from);
  goTo(at - (at - from) * factor, at + (to - at) * factor);
}

let turned = null;

document.addEventListener("wheel", (event) => {
  const area = event.target.closest && event.target.closest("#timeline .track");
  const isZoom = event.ctrlKey || event.metaKey;
  const sideways = event.shiftKey ? event.deltaY || event.deltaX : event.deltaX;
  if (!area || !(isZoom || Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY))) return;
  event.preventDefault();
  turned = turned || { area, x: event.clientX, zoom: 0, px: 0, timer: 0 };
  if (isZoom) turned.zoom += event.deltaY;
  else { turned.px -= sideways; slide(turned.px); }
  clearTimeout(turned.timer);
  turned.timer = setTimeout(() => {
    const { x, zoom, px } = turned;
    turned = null;
    if (zoom) zoomAt(area, x, Math.min(8, Math.max(1 / 8, 2 ** (zoom / 100))));
    else if (px) move(area, px);
  }, SETTLE_MS);
}, { passive: false });

// --- Times of the axis in this browser's zone, when that is asked for -------------------------

const isLocal = document.body.dataset.zone === "browser";
const two = (number) => String(number).padStart(2, "0");

function label(at, detail) {
  const date = new Date(at);
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  if (detail === "day") return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  if (detail === "minute") return clock;
  const second = `${clock}:${two(date.getSeconds())}`;
  return detail === "second" ? second : `${second}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

function localize(within) {
  if (!isLocal) return;
  for (const text of within.querySelectorAll(".axis text[data-at]")) {
    const local = label(Number(text.dataset.at), text.dataset.detail);
    if (text.textContent !== local) text.textContent = local;
  }
}

document.addEventListener("htmx:before:swap", (event) => {
  for (const task of event.detail.tasks || []) if (task.fragment instanceof DocumentFragment) localize(task.fragment);
});
localize(document);
