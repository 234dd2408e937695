// Flame graphs under the keyboard and the mouse. A step fetches what its link names and puts it in place; without this file links do the same.

const KEYS = { 0: "reset", Escape: "reset", n: "next", N: "previous" };
const viewer = () => document.getElementById("flame");
const boxes = () => [...document.querySelectorAll("#flame .boxes a")];
let wanted = location.search;
let refocus = false;

// --- Going somewhere: the address, then what it names ----------------------------------

function show(search) {
  wanted = search;
  refocus = Boolean(document.activeElement && document.activeElement.closest("#flame .boxes"));
  const target = viewer().closest(".live[hx-get]") || viewer(); // what keeps itself up to date asks for the new address from now on
  window.htmx.ajax("GET", search || location.pathname, { source: "#flame", target: `#${target.id}`, swap: "outerHTML", stepped: search });
}

function go(address) {
  const url = new URL(address, location.href);
  if (!window.htmx || url.pathname !== location.pathname) { location.assign(url); return; }
  if (url.search !== location.search) history.pushState(history.state, "", url.search || url.pathname);
  show(url.search);
}

addEventListener("popstate", () => { if (viewer()) show(location.search); });

// An answer that was overtaken by another step is dropped.
document.addEventListener("htmx:before:swap", (event) => {
  const { ctx } = event.detail;
  if (ctx && ctx.stepped !== undefined && ctx.stepped !== wanted) event.preventDefault();
});

document.addEventListener("htmx:after:swap", () => {
  const shown = refocus && document.querySelector('#flame .boxes a[tabindex="0"]');
  refocus = false;
  if (shown) shown.focus({ preventScroll: true });
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("#flame a[data-step]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  go(link.getAttribute("href"));
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("#flame form[data-step]");
  if (!form) return;
  event.preventDefault();
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  go(`${form.getAttribute("action")}?${new URLSearchParams(filled)}`);
});

document.addEventListener("change", (event) => {
  const select = event.target.closest("#flame form[data-step] select");
  if (select) select.form.requestSubmit();
});

// --- Keys: arrows from box to box, as they stand -----------------------------------------

const place = (box) => { const { left, right, top } = box.querySelector("rect").getBoundingClientRect(); return { box, left, right, top: Math.round(top) }; };

function neighbour(from, key) {
  const here = place(from);
  const all = boxes().map(place);
  const rows = [...new Set(all.map((one) => one.top))].sort((one, other) => one - other);
  const down = { ArrowDown: 1, ArrowUp: -1 }[key];
  if (!down) {
    const row = all.filter((one) => one.top === here.top).sort((one, other) => one.left - other.left);
    return row[row.findIndex((one) => one.box === from) + (key === "ArrowRight" ? 1 : -1)];
  }
  const top = rows[rows.indexOf(here.top) + down];
  const overlapping = (one) => Math.min(one.right, here.right) - Math.max(one.left, here.left);
  return all.filter((one) => one.top === top && overlapping(one) > 0).sort((one, other) => overlapping(other) - overlapping(one))[0];
}

function move(from, key) {
  const found = neighbour(from, key);
  if (!found) return;
  for (const box of document.querySelectorAll('#flame .boxes a[tabindex="0"]')) box.setAttribute("tabindex", "-1");
  found.box.setAttribute("tabindex", "0");
  found.box.focus({ preventScroll: true });
  found.box.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (!viewer() || /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName)) return;
  const box = event.target.closest(".boxes a");
  const first = event.target === document.body && /^Arrow(Left|Right)$/.test(event.key) && document.querySelector('#flame .boxes a[tabindex="0"]');
  if (first) { event.preventDefault(); first.focus({ preventScroll: true }); return; }
  if (box && /^Arrow/.test(event.key)) { event.preventDefault(); move(box, event.key); return; }
  const link = Object.hasOwn(KEYS, event.key) && document.querySelector(`#flame [data-step="${KEYS[event.key]}"]`);
  if (!link) return;
  event.preventDefault();
  link.dispatchEvent(new MouseEvent("click", { bubbles: true, cancelable: true }));
});

// --- What the box under the mouse, or with the focus, is -----------------------------------

function tell(event) {
  const box = event.target.closest && event.target.closest("#flame .boxes a");
  const line = box && (box.closest(".flame-graph").parentElement.querySelector("[data-details]"));
  if (line) line.textContent = box.querySelector("title").textContent.split("\n").join("  ·  ");
}

document.addEventListener("pointerover", tell);
document.addEventListener("focusin", tell);
