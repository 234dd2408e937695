// Times and durations: running ones tick from absolute times, and times are shown in this browser's zone when that is asked for.

const SIZES = [[86400, "d", 3600, "h"], [3600, "h", 60, "m"], [60, "m", 1, "s"]];
const TICK_MS = 1000;
const skewMs = Date.now() - Number(document.body.dataset.now || Date.now()); // this clock, ahead of the server's
const endedMs = Number(document.body.dataset.ended || 0); // the session is over: what ran then has lasted until then
const zoned = document.body.dataset.zone === "browser" ? new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" }) : null;

function duration(ms) {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  for (const [size, name, lower, lowerName] of SIZES) {
    if (seconds >= size) return `${Math.floor(seconds / size)} ${name} ${Math.floor((seconds % size) / lower)} ${lowerName}`;
  }
  return `${seconds} s`;
}

function put(element, text) {
  if (element && element.textContent !== text) element.textContent = text; // an equal text is left alone: a selection in it stays
}

function draw(within) {
  const now = endedMs || Date.now() - skewMs;
  for (const element of within.querySelectorAll("[data-since]")) put(element, duration(now - Number(element.dataset.since)));
  if (!zoned) return;
  for (const element of within.querySelectorAll("time[datetime]")) {
    const moment = new Date(element.dateTime);
    if (!Number.isNaN(moment.getTime())) put(element, zoned.format(moment));
  }
}

// What is about to be swapped in is drawn first, so that what did not change is not touched on the page.
document.addEventListener("htmx:before:swap", (event) => {
  for (const task of event.detail.tasks || []) if (task.fragment instanceof DocumentFragment) draw(task.fragment);
});
document.addEventListener("raydeck:silent", (event) => {
  const { ms, text } = event.detail;
  for (const element of document.querySelectorAll("[data-checked]")) put(element, text || (ms < 3000 ? "now" : `${duration(ms)} ago`));
  put(document.querySelector("[data-lost-for]"), duration(ms));
});

draw(document);
setInterval(() => { if (!document.hidden) draw(document); }, TICK_MS);
document.addEventListener("visibilitychange", () => { if (!document.hidden) draw(document); });
