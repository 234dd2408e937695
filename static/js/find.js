// Finding in a log: Enter goes to the next place once the text is looked for, Shift+Enter to the one before; n and N from anywhere.

const form = document.querySelector("[data-find]");
const field = form?.elements.q;
const go = (name) => document.querySelector(`[data-${name}]`)?.click();
const isAsked = () => field.value === field.defaultValue && [...form.querySelectorAll("input[type=checkbox]")].every((box) => box.checked === box.defaultChecked);

field?.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.isComposing || !isAsked() || !document.querySelector("[data-next]")) return;
  event.preventDefault();
  go(event.shiftKey ? "previous" : "next");
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target instanceof HTMLElement && event.target.closest("input, textarea, select")) return;
  if (event.key === "n") go("next");
  if (event.key === "N") go("previous");
});
