"""The tab Try: images in, results out."""

from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr

from ui.choices import Choices
from ui.context import Context
from ui.try_events import LANGUAGES, TryEvents

_SCRIPT = Path(__file__).with_name("results.js").read_text()


class _Results(NamedTuple):
    """The components that show a run."""

    run: gr.State
    listing: gr.HTML
    result: gr.HTML
    more: gr.Accordion
    codes: tuple[gr.Code, ...]
    """JSON first, then one for each of LANGUAGES."""

    @property
    def of_one(self) -> list[Any]:
        """The outputs that show one image."""
        return [self.listing, self.result, self.more, *self.codes]


def build(context: Context) -> None:
    """Build the tab inside the Blocks that are open."""
    events = TryEvents(context.settings, context.access)
    with gr.Row(elem_classes="try"):
        with gr.Column(scale=2, min_width=280):
            files, webcam = _sources(context)
            with gr.Row(elem_classes="buttons"):
                start = gr.Button("Run", variant="primary", elem_id="run", min_width=80)
                stop = gr.Button("Cancel", interactive=False, elem_id="cancel", min_width=80)
            message = gr.HTML(elem_id="message")
            choices = _choices()
        with gr.Column(scale=5, min_width=320):
            results = _results()
    _connect_models(context, events, choices, message)
    start.click(
        events.run,
        [context.key, files, webcam, *choices],
        [start, stop, message, results.run, *results.of_one],
        show_progress="hidden",
        api_visibility="private",
        concurrency_limit=context.settings.max_runs,
        concurrency_id="runs",
    )
    stop.click(
        events.cancel,
        [context.key, results.run],
        message,
        show_progress="hidden",
        api_visibility="private",
    )
    results.listing.select(
        events.select,
        [context.key, results.run],
        results.of_one,
        show_progress="hidden",
        api_visibility="private",
    )


def _sources(context: Context) -> tuple[gr.File, gr.Image]:
    with gr.Tabs(elem_classes="sources"):
        with gr.Tab("Files"):
            files = gr.File(
                label="Images, dropped or chosen",
                file_count="multiple",
                height=180,
                elem_id="files",
            )
        with gr.Tab("Webcam"):
            webcam = gr.Image(
                label="A picture from the webcam",
                sources=["webcam"],
                type="filepath",
                image_mode=None,
                height=260,
                elem_id="webcam",
                webcam_options=gr.WebcamOptions(mirror=False),
            )
    return files, webcam


def _choices() -> Choices[Any]:
    model = gr.Dropdown([], label="Model", elem_id="model", filterable=False)
    classes = gr.Dropdown(
        [], label="Classes", info="All where none is chosen.", multiselect=True, elem_id="classes"
    )
    confidence = gr.Slider(0, 1, 0.25, step=0.01, label="Confidence", info="At least this.")
    iou = gr.Slider(0, 1, 0.45, step=0.01, label="IoU", info="Boxes that overlap more are one.")
    with gr.Accordion("Slicing, for small objects", open=False):
        slicing = gr.Checkbox(label="Cut into overlapping tiles")
        tile = gr.Number(
            label="Tile side in pixels",
            info="0: the size of the model's input.",
            value=0,
            precision=0,
            minimum=0,
            maximum=16384,
        )
    return Choices(model, classes, confidence, iou, slicing, tile)


def _results() -> _Results:
    run = gr.State(None, time_to_live=3600)
    listing = gr.HTML(js_on_load=_SCRIPT, elem_id="listing")
    result = gr.HTML(js_on_load=_SCRIPT, elem_id="result")
    with gr.Accordion("JSON and code", open=True, visible=False, elem_id="code") as more, gr.Tabs():
        codes = []
        for name, language in {"JSON": "json", **LANGUAGES}.items():
            with gr.Tab(name):
                codes.append(
                    gr.Code(
                        label=name,
                        language=language,
                        interactive=False,
                        lines=1,
                        max_lines=24,
                        wrap_lines=True,
                    )
                )
    return _Results(run, listing, result, more, tuple(codes))


def _connect_models(
    context: Context, events: TryEvents, choices: Choices[Any], message: gr.HTML
) -> None:
    models = gr.State({})
    context.entered.change(
        events.load_models,
        context.key,
        [models, choices.model, message],
        show_progress="hidden",
        api_visibility="private",
    )
    choices.model.change(
        lambda models, name: gr.Dropdown(models.get(name, []), value=[]),
        [models, choices.model],
        choices.classes,
        show_progress="hidden",
        api_visibility="private",
        queue=False,
    )
