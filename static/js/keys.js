// The keyboard: ? help, / filter, g and a letter, j and k through the rows, p stops updates, t theme, Ctrl-K palette. Links and forms do the rest.

const WAIT_MS = 1500;
const palette = document.getElementById("palette");
const field = palette && palette.querySelector("input[name=q]");
let prefixAt = 0;

const isTyping = (element) => element instanceof HTMLElement && (element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName));
const isDialogOpen = () => Boolean(document.querySelector("dialog[open]"));

function open(id) {
  const dialog = document.getElementById(id);
  if (!dialog || isDialogOpen()) return;
  dialog.showModal();
  const first = dialog.querySelector("input[type=search]");
  if (first) first.select();
}

// --- Rows: the focus stands on the first link of a row, so that Enter opens it ---

const firstLink = (row) => row.querySelector("a[href]:not(.expand)") || row.querySelector("a[href]");

function move(step) {
  const rows = [...document.querySelectorAll(".rows > tbody > tr[id]")].filter(firstLink);
  if (!rows.length) return;
  const current = document.activeElement && document.activeElement.closest(".rows > tbody > tr[id]");
  const at = rows.indexOf(current);
  const row = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + step))];
  firstLink(row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest", inline: "nearest" });
}

const actions = {
  "?": () => open("keys"),
  "/": () => { const filter = document.querySelector(".filters input[name=q], [data-find] input[name=q]"); if (filter) filter.select(); else open("palette"); },
  j: () => move(1),
  k: () => move(-1),
  p: () => document.querySelector("[data-pause]")?.click(),
  t: () => document.querySelector("[data-theme-button]")?.click(),
  g: () => { prefixAt = Date.now(); },
};

function goTo(letter) {
  const link = document.querySelector(`[data-letter="${CSS.escape(letter)}"]`);
  if (link) link.click();
  return Boolean(link);
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
    event.preventDefault();
    open("palette");
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || isDialogOpen()) return;
  if (event.key === "Escape" && document.activeElement instanceof HTMLElement) document.activeElement.blur();
  if (isTyping(event.target)) return;
  const isAfterPrefix = Date.now() - prefixAt < WAIT_MS;
  prefixAt = 0;
  if (isAfterPrefix && goTo(event.key)) { event.preventDefault(); return; }
  if (Object.hasOwn(actions, event.key)) { event.preventDefault(); actions[event.key](); }
});

document.addEventListener("click", (event) => {
  if (event.target.closest("[data-help]")) open("keys");
  if (event.target.closest("[data-palette]") && !event.ctrlKey && !event.metaKey) { event.preventDefault(); open("palette"); }
  if (event.target instanceof HTMLDialogElement) event.target.close(); // beside it
});

// --- Palette: pages by name; anything else is looked for ------------------------

if (field) {
  const links = [...palette.querySelectorAll(".choices a")];
  const shown = () => links.filter((link) => !link.parentElement.hidden);
  const narrow = () => {
    const word = field.value.trim().toLowerCase();
    for (const link of links) link.parentElement.hidden = !link.textContent.toLowerCase().includes(word);
    const found = word ? links.find((link) => link.textContent.trim().toLowerCase().startsWith(word)) : null;
    for (const link of links) link.classList.toggle("chosen", link === found);
  };
  field.addEventListener("input", narrow);
  palette.addEventListener("close", () => { field.value = ""; narrow(); });
  palette.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    (shown()[shown().indexOf(document.activeElement) + step] || field).focus();
  });
  field.form.addEventListener("submit", (event) => {
    const chosen = palette.querySelector(".choices a.chosen");
    if (chosen) { event.preventDefault(); chosen.click(); }
  });
}
