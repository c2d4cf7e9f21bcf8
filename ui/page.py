"""The page as a whole: the key, and a tab for each part."""

from pathlib import Path

import gradio as gr

from sluice.settings import UiSettings
from ui import history_tab, operate_tab, try_tab, webhooks_tab
from ui.context import Context
from ui.session import Access

HERE = Path(__file__).parent
CSS = [HERE / "page.css", HERE / "tables.css"]
JS = HERE / "page.js"
_TABS = {"History": history_tab, "Operate": operate_tab, "Webhooks": webhooks_tab}
# System fonts: a font by name would be fetched from another host.
SANS = ("system-ui", "sans-serif")
MONO = ("ui-monospace", "monospace")
# The key stays in the tab's own storage, which ends with the tab.
_RECALL = "(current) => current || sessionStorage.getItem('sluice-key') || ''"
_KEEP = "(key) => { sessionStorage.setItem('sluice-key', key ?? ''); }"


def build(settings: UiSettings) -> gr.Blocks:
    """The page, ready to be mounted."""
    with gr.Blocks(
        title="Sluice", analytics_enabled=False, delete_cache=_cache(settings), fill_width=False
    ) as blocks:
        with gr.Row(elem_id="head"):
            gr.HTML("<h1>Sluice</h1><p>YOLO models behind a queue</p>", elem_id="title")
            key = gr.Textbox(
                label="API key",
                type="password",
                placeholder="leave empty if the service needs none",
                elem_id="key",
                max_lines=1,
                html_attributes=gr.InputHTMLAttributes(autocomplete="off", spellcheck=False),
            )
        entered = gr.State((0, 0))
        context = Context(settings, Access(settings.api_url), key, entered)
        with gr.Tabs():
            with gr.Tab("Try", id="try"):
                try_tab.build(context)
            for name, part in _TABS.items():
                with gr.Tab(name, id=name.lower()) as tab:
                    part.build(context, tab)
        key.change(None, key, js=_KEEP, api_visibility="private")
        recalled = blocks.load(None, key, key, js=_RECALL, api_visibility="private")
        for done in (recalled.then, key.submit):
            done(_again, [key, entered], entered, api_visibility="private")
        # The field loses the focus at a click elsewhere. The same key is no new one.
        key.blur(_once, [key, entered], entered, api_visibility="private")
    return blocks


def _again(key: str, entered: tuple[int, int]) -> tuple[int, int]:
    """Another value, even for the same key: the person asks once more."""
    return hash(key), entered[1] + 1


def _once(key: str, entered: tuple[int, int]) -> tuple[int, int]:
    """Another value for another key only."""
    return hash(key), entered[1]


def theme() -> gr.themes.Base:
    """Gradio's base theme with fonts of the reader's machine."""
    base = gr.themes.Base(primary_hue="teal", neutral_hue="slate", font=SANS, font_mono=MONO)
    # Gradio's own greys and teals are too pale for WCAG's ratio of 4.5 to 1.
    return base.set(
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
    )


def _cache(settings: UiSettings) -> tuple[int, int]:
    """Gradio's pair: seconds between two clean-ups, and the age of files to delete."""
    return max(1, int(settings.upload_ttl_s // 6)), int(settings.upload_ttl_s)
