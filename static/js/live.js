// Parts of a page that keep themselves up to date: they rest while the page is hidden or stopped, say so when nobody answers, and mark what is new.

const LIVE = ".live[hx-get]";
const MARKED_MS = 1600;
const PATIENCE_MS = 5000;
const refreshMs = Number(document.body.dataset.refresh || 1) * 1000;
const lost = document.getElementById("lost");
const problem = document.getElementById("problem");
const pause = document.querySelector("[data-pause]");
let answeredAt = Date.now();
let toMark = [];

const query = (address) => new URL(address, location.href).search;
const isPoll = (context) => Boolean(context && context.sourceElement && context.sourceElement.matches(LIVE));

const isPaused = () => Boolean(pause) && pause.getAttribute("aria-pressed") === "true";

function askNow() {
  answeredAt = Date.now(); // it was we who did not ask
  for (const element of document.querySelectorAll(LIVE)) element.dispatchEvent(new CustomEvent("every"));
}

function tell() {
  if (document.hidden || !document.querySelector(LIVE)) return;
  const silentMs = Date.now() - answeredAt;
  if (lost) lost.hidden = isPaused() || silentMs < refreshMs + PATIENCE_MS;
  document.dispatchEvent(new CustomEvent("raydeck:silent", { detail: { ms: silentMs } }));
}

// --- Asking, or not -----------------------------------------------------------

document.addEventListener("htmx:before:request", (event) => {
  if ((document.hidden || isPaused()) && isPoll(event.detail.ctx)) event.preventDefault();
});

document.addEventListener("htmx:after:request", (event) => {
  const context = event.detail.ctx;
  if (!isPoll(context) || !context.response) return;
  if (context.response.status >= 400) return;
  answeredAt = Date.now();
  if (problem && problem.firstChild) problem.replaceChildren();
  tell();
});

// An answer to what the part no longer asks (a filter has changed meanwhile) is dropped.
document.addEventListener("htmx:before:swap", (event) => {
  const context = event.detail.ctx;
  if (isPoll(context) && query(context.sourceElement.getAttribute("hx-get")) !== query(context.request.action)) event.preventDefault();
});

document.addEventListener("visibilitychange", () => { if (!document.hidden && !isPaused()) askNow(); });

if (pause) {
  pause.addEventListener("click", () => {
    pause.setAttribute("aria-pressed", String(!isPaused()));
    document.documentElement.classList.toggle("paused", isPaused());
    if (isPaused()) tell(); else askNow();
  });
}

// --- What is new ---------------------------------------------------------------

const states = (row) => [...row.querySelectorAll(".state")].map((state) => state.textContent).join();

function differing(fragment) {
  const shown = document.querySelectorAll(".rows tr[id]");
  if (!shown.length) return [];
  return [...fragment.querySelectorAll(".rows tr[id]")].filter((row) => {
    const before = document.getElementById(row.id);
    return !before || states(before) !== states(row);
  }).map((row) => row.id);
}

document.addEventListener("htmx:before:swap", (event) => {
  const { ctx, tasks } = event.detail;
  toMark = isPoll(ctx) && !event.defaultPrevented ? (tasks || []).flatMap((task) => (task.fragment instanceof DocumentFragment ? differing(task.fragment) : [])) : [];
});

document.addEventListener("htmx:after:swap", () => {
  for (const id of toMark) {
    const row = document.getElementById(id);
    if (!row) continue;
    row.dataset.changed = "";
    setTimeout(() => delete row.dataset.changed, MARKED_MS);
  }
  toMark = [];
});

setInterval(tell, 1000);
