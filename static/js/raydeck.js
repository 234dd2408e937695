// What a page does beyond HTML: ages that tick, keys, the palette, and saying so when Raydeck does not answer.
// Everything here only eases what links and forms do without it.

const root = document.documentElement;
const refreshMs = Number(document.body.dataset.refresh || 1) * 1000;
let lastAnswer = Date.now();
let clockSkewMs = 0;

root.classList.add("script");

// --- Time ------------------------------------------------------------------

function durationText(ms) {
  const seconds = Math.max(0, ms / 1000);
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const whole = Math.floor(seconds);
  for (const [size, name, lower, lowerName] of [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]]) {
    const rest = Math.floor((whole % size) / lower);
    if (whole >= size) return rest ? `${Math.floor(whole / size)} ${name} ${rest} ${lowerName}` : `${Math.floor(whole / size)} ${name}`;
  }
  return "";
}

function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  const now = Date.now() - clockSkewMs;
  for (const element of document.querySelectorAll("[data-since]")) put(element, durationText(now - Number(element.dataset.since)));
  const silentMs = Date.now() - lastAnswer;
  for (const element of document.querySelectorAll("[data-checked]")) put(element, silentMs < 3000 ? "now" : `${durationText(silentMs)} ago`);
  const lost = document.getElementById("lost");
  if (lost && document.querySelector(".live[hx-get]")) {
    lost.hidden = document.hidden || silentMs < refreshMs + 6000;
    put(lost.querySelector("[data-lost-for]"), durationText(silentMs));
  }
}

const zone = document.body.dataset.zone;
const format = zone === "browser" ? new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" }) : null;

function localTimes(within) {
  if (!format) return;
  for (const element of within.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.getAttribute("datetime"));
    if (!Number.isNaN(moment.getTime())) put(element, format.format(moment));
  }
}

// --- Live parts ------------------------------------------------------------

document.addEventListener("htmx:before:request", (event) => {
  const source = event.detail.ctx && event.detail.ctx.sourceElement;
  if (document.hidden && source && source.classList.contains("live")) event.preventDefault();
});

document.addEventListener("htmx:after:request", (event) => {
  const response = event.detail.ctx && event.detail.ctx.response;
  if (response && response.status < 500) lastAnswer = Date.now();
});

let before = new Map();

document.addEventListener("htmx:before:swap", () => {
  before = new Map([...document.querySelectorAll("tr[id]")].map((row) => [row.id, row.textContent]));
});

document.addEventListener("htmx:after:swap", () => {
  const chosen = root.dataset.chosen && document.getElementById(root.dataset.chosen);
  if (chosen) chosen.classList.add("chosen");
  for (const row of document.querySelectorAll(".rows tr[id]")) {
    if (before.size && !before.has(row.id)) {
      row.classList.add("changed");
      setTimeout(() => row.classList.remove("changed"), 1700);
    }
  }
  localTimes(document);
  tick();
});

document.addEventListener("visibilitychange", () => {
  if (!document.hidden) lastAnswer = Date.now();
});

// --- Keys ------------------------------------------------------------------

let waitingForLetter = 0;

function isTyping(element) {
  return element instanceof HTMLElement && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
}

function open(id) {
  const dialog = document.getElementById(id);
  if (!dialog || dialog.open) return;
  dialog.showModal();
  const field = dialog.querySelector("input[type=search]");
  if (field) field.focus();
}

function move(step) {
  const rows = [...document.querySelectorAll(".rows > tbody > tr[id]")];
  if (!rows.length) return;
  const at = rows.findIndex((row) => row.classList.contains("chosen"));
  const next = rows[Math.min(rows.length - 1, Math.max(0, at + step))];
  for (const row of rows) row.classList.remove("chosen");
  next.classList.add("chosen");
  root.dataset.chosen = next.id;
  next.scrollIntoView({ block: "nearest" });
}

const keys = {
  "?": () => open("keys"),
  "/": () => (document.querySelector(".filters input[name=q]") || document.querySelector(".goto input[name=q]"))?.focus(),
  j: () => move(1),
  k: () => move(-1),
  t: () => document.querySelector("[data-theme-button]")?.click(),
  g: () => { waitingForLetter = Date.now(); },
};

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open("palette");
    return;
  }
  if (event.key === "Escape" && isTyping(event.target)) event.target.blur();
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
  if (waitingForLetter && Date.now() - waitingForLetter < 1500) {
    waitingForLetter = 0;
    const link = document.querySelector(`.menu a[data-letter="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); return; }
  }
  if (event.key === "Enter") {
    const link = document.querySelector("tr.chosen a[href]:not(.expand)");
    if (link && document.activeElement === document.body) link.click();
    return;
  }
  const act = keys[event.key];
  if (act) { event.preventDefault(); act(); }
});

// --- Palette, copying, choices ----------------------------------------------

const palette = document.getElementById("palette");
const paletteField = palette && palette.querySelector("input[name=q]");
if (paletteField) {
  const links = [...palette.querySelectorAll(".choices a")];
  const shown = () => links.filter((link) => !link.parentElement.hidden);
  paletteField.addEventListener("input", () => {
    const word = paletteField.value.trim().toLowerCase();
    for (const link of links) link.parentElement.hidden = !link.textContent.toLowerCase().includes(word);
  });
  palette.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !shown().length) return;
    event.preventDefault();
    const at = shown().indexOf(document.activeElement);
    const next = shown()[at + step];
    (next || paletteField).focus();
  });
  paletteField.form.addEventListener("submit", (event) => {
    const word = paletteField.value.trim().toLowerCase();
    const only = shown().filter((link) => link.textContent.toLowerCase().startsWith(word));
    if (word && only.length) { event.preventDefault(); only[0].click(); }
  });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest && event.target.closest("[data-copy], [data-help]");
  if (!button) return;
  if (button.hasAttribute("data-help")) { open("keys"); return; }
  navigator.clipboard?.writeText(button.dataset.copy).then(() => {
    button.classList.add("changed");
    setTimeout(() => button.classList.remove("changed"), 1700);
  }, () => {});
});

for (const choice of document.querySelectorAll("[data-zone-choice]")) choice.addEventListener("change", () => choice.form.requestSubmit());

localTimes(document);
tick();
setInterval(tick, 500);
