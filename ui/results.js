// Runs once, when Gradio loads the component. `element` holds the rows or the result.
const press = (button, pressed) => button.setAttribute("aria-pressed", String(pressed));

const highlight = (id) => {
  for (const row of element.querySelectorAll("[data-row]"))
    row.classList.toggle("on", row.dataset.row === id);
  for (const shape of element.querySelectorAll("[data-shape]"))
    shape.classList.toggle("on", shape.dataset.shape === id);
};

const chosen = () =>
  element.querySelector('[data-row] [aria-pressed="true"]')?.closest("[data-row]").dataset.row;

element.addEventListener("click", (event) => {
  const item = event.target.closest("[data-item]");
  if (item) return trigger("select", { index: Number(item.dataset.item) });
  const row = event.target.closest("[data-row]");
  if (!row) return;
  const again = row.dataset.row === chosen();
  for (const button of element.querySelectorAll("[data-row] button")) press(button, false);
  if (!again) press(row.querySelector("button"), true);
  highlight(chosen());
});
element.addEventListener("pointerover", (event) => {
  const row = event.target.closest("[data-row]");
  highlight(row ? row.dataset.row : chosen());
});
element.addEventListener("pointerleave", () => highlight(chosen()));

// The rows are drawn again while a run goes on. The focus stays on its row.
let focused = null;
element.addEventListener("focusin", (event) => {
  focused = event.target.dataset.item ?? null;
});
let rows = 0;
watch("value", () => {
  const before = rows;
  rows = element.querySelectorAll("[data-item]").length;
  // On a phone the rows of a new run are below the screen.
  if (!before && rows && element.getBoundingClientRect().top > innerHeight * 0.8)
    element.scrollIntoView();
  if (focused !== null && document.activeElement === document.body)
    element.querySelector(`[data-item="${focused}"]`)?.focus();
});
