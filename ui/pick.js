// Runs once, when Gradio loads the component. A button of an entry says which entry it is for.
element.addEventListener("click", (event) => {
  const button = event.target.closest("button[data-id]");
  if (button) trigger("select", { id: button.dataset.id });
});
