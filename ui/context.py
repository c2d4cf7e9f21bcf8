"""The parts of the page that every tab is built with."""

from dataclasses import dataclass

import gradio as gr

from sluice.settings import UiSettings
from ui.session import Access

PRIVATE = {"api_visibility": "private", "show_progress": "hidden"}
"""Options of an event that only the page uses, and that shows no progress of its own."""


@dataclass(frozen=True)
class Context:
    """Given to each tab's `build`."""

    settings: UiSettings
    access: Access
    key: gr.Textbox
    """The person's key: an input of every event that calls the api."""
    entered: gr.State
    """A hash of the key, and how often it was entered.

    Changes with each entry, and once when the page opens. The page's process keeps no key.
    """
