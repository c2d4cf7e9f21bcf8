() => {
  // CodeMirror's scroller can't be focused, so the keyboard could not scroll long code.
  const reach = () => {
    for (const scroller of document.querySelectorAll('.cm-scroller:not([tabindex="0"])'))
      scroller.tabIndex = 0;
  };
  new MutationObserver(reach).observe(document.body, { childList: true, subtree: true });
};
