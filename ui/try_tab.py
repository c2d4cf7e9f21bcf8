"""The tab Try: images in, results out."""

import gradio as gr

from ui.context import Context


def build(context: Context) -> None:
    """Build the tab inside the Blocks that are open."""
    gr.Markdown("Soon.")
