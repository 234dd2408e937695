// Following a log: what the server tells is added at the end. Scrolling up holds it back; a page keeps its newest lines.

const KEPT_LINES = 5000;
const HELD_LINES = 5000;
const NEAR_END_PX = 40;

const list = document.querySelector("ol[data-follow]");
const state = document.querySelector("[data-state]");
const resume = document.querySelector("[data-resume]");
const parser = new DOMParser();
let held = [];
let heldLines = 0;
let source = null;
let lastId = "";

const page = document.scrollingElement;
const isAtEnd = () => list.scrollHeight - list.scrollTop - list.clientHeight < NEAR_END_PX && page.scrollHeight - page.scrollTop - window.innerHeight < NEAR_END_PX;
const toEnd = () => { list.scrollTop = list.scrollHeight; page.scrollTop = page.scrollHeight; };

function say(words, canGoOn = false) {
  state.textContent = words;
  resume.hidden = !canGoOn;
}

// --- Adding ----------------------------------------------------------------------------

function mark(words) {
  const line = document.createElement("li");
  line.className = "told";
  const text = document.createElement("code");
  text.textContent = words;
  line.append(document.createElement("span"), text);
  list.append(line);
}

function forgetAddresses() {
  for (const line of list.children) line.removeAttribute("id");
  for (const link of list.querySelectorAll("a.at[href]")) link.removeAttribute("href");
}

function add(told) {
  const made = parser.parseFromString(told.html, "text/html"); // a fragment that our server rendered, as those of htmx
  for (const line of [...made.body.children]) {
    const known = line.id && document.getElementById(line.id); // it had no end when it was shown
    if (known && known.parentNode === list) known.replaceWith(line); else list.append(line);
  }
  if (told.is_new_file) forgetAddresses();
  if (told.mark) mark(told.mark);
  while (list.children.length > KEPT_LINES) list.firstElementChild.remove();
}

function take(told) {
  if (held.length || !isAtEnd()) {
    held.push(told);
    heldLines += told.lines;
    say(`Held back while you read: ${heldLines} new lines`, true);
    if (heldLines > HELD_LINES) stop(`More than ${HELD_LINES} new lines came while you read`);
    return;
  }
  add(told);
  toEnd();
}

// --- The connection --------------------------------------------------------------------

function stop(why) {
  source?.close();
  source = null;
  say(why, true);
}

function start() {
  const address = new URL(list.dataset.follow, location.href);
  const [inode, at, number] = lastId.split(":");
  if (lastId) {
    address.searchParams.set("inode", inode);
    address.searchParams.set("at", at);
    if (number) address.searchParams.set("number", number); else address.searchParams.delete("number");
  }
  source = new EventSource(address);
  source.onopen = () => { if (!held.length) say("Following"); };
  source.onmessage = (event) => {
    const told = JSON.parse(event.data);
    if (event.lastEventId) lastId = event.lastEventId;
    take(told);
    if (told.is_end) stop(told.mark || "Ended");
  };
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) stop("The server does not answer");
    else if (source) say("The connection broke off: trying again");
  };
}

function goOn() {
  const waiting = held;
  held = [];
  heldLines = 0;
  for (const told of waiting) add(told);
  toEnd();
  if (source) say("Following"); else start();
}

if (list && state && resume) {
  resume.addEventListener("click", goOn);
  const atEnd = () => { if (held.length && source && isAtEnd()) goOn(); };
  list.addEventListener("scroll", atEnd);
  window.addEventListener("scroll", atEnd, { passive: true });
  window.addEventListener("pagehide", () => source?.close());
  say("Connecting");
  toEnd();
  start();
}
