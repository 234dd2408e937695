// Controls that work as forms and buttons, and work better here: theme, time zone, copying, filters that follow while one types.

const root = document.documentElement;
const TYPED_MS = 450;

root.classList.add("script");

// --- Theme: shown at once, kept by the form ---------------------------------------

const themeButton = document.querySelector("[data-theme-button]");
const dark = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme === "system" ? dark.matches : root.dataset.theme === "dark");

if (themeButton) {
  const form = themeButton.form;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    themeButton.value = isDark() ? "light" : "dark";
    const body = new FormData(form, themeButton);
    root.dataset.theme = themeButton.value;
    fetch(form.action, { method: "POST", body, redirect: "manual" }).catch(() => {});
  });
}

for (const choice of document.querySelectorAll("[data-zone-choice]")) choice.addEventListener("change", () => choice.form.requestSubmit());

// --- What opens beside the header closes like a menu ---------------------------------

const places = document.querySelector("details.switch");

function shut(isByKey) {
  if (!places || !places.open) return;
  places.open = false;
  if (isByKey) places.querySelector("summary").focus();
}

document.addEventListener("click", (event) => { if (!event.target.closest("details.switch")) shut(false); });
document.addEventListener("keydown", (event) => { if (event.key === "Escape") shut(true); });

// --- Copying ------------------------------------------------------------------------

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button || !navigator.clipboard) return;
  navigator.clipboard.writeText(button.dataset.copy).then(() => {
    button.dataset.changed = "";
    setTimeout(() => delete button.dataset.changed, 1600);
  }, () => {});
});

// --- Filters: the page follows what is typed or chosen; the URL says the same ---------

let typed = 0;
let wanted = "";

function urlOf(form) {
  const filled = [...new FormData(form)].filter(([, value]) => value !== "");
  return `?${new URLSearchParams(filled)}`;
}

function follow(form) {
  clearTimeout(typed);
  const url = urlOf(form);
  if (url === wanted || !window.htmx) return;
  wanted = url;
  window.htmx.ajax("GET", url, { source: "#main", target: "#main", select: "#main", swap: "outerMorph", followed: form });
}

document.addEventListener("input", (event) => {
  const form = event.target.closest && event.target.closest("form.filters:not(.go)");
  if (!form || event.isComposing) return;
  clearTimeout(typed);
  typed = setTimeout(() => { if (form.isConnected) follow(form); }, event.target instanceof HTMLSelectElement ? 0 : TYPED_MS);
});

document.addEventListener("htmx:before:swap", (event) => {
  const form = event.detail.ctx && event.detail.ctx.followed;
  if (!form) return;
  const isRead = event.detail.ctx.response.status < 400;
  form.classList.toggle("unread", !isRead); // half a term: Enter says what is wrong with it
  const hint = form.querySelector(".unread-hint span");
  if (hint) hint.hidden = isRead;
  if (!isRead || urlOf(form) !== wanted) event.preventDefault();
  else history.replaceState(history.state, "", wanted);
});
