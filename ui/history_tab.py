"""The tab History: past predictions with filters and pages, opened, canceled, packed as a ZIP."""

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import gradio as gr

from sluice.client import AsyncClient, Prediction, ServiceError
from ui import archive, cards
from ui.context import PRIVATE, Context
from ui.markup import PICK, error_notice, notice
from ui.place import Place

PAGE = 12
_STATUSES = ("any", "starting", "processing", "succeeded", "failed", "canceled", "aborted")
_TIMES = {"any time": None, "the last hour": 1, "the last day": 24, "the last week": 168}
#: Fields of `input` that a submission may have, beside the image.
_PARAMETERS = (
    *("confidence", "iou", "max_detections", "classes", "class_agnostic", "visualize"),
    *("output_format", "slice"),
)
# The boxes that are checked in the browser, in place of the second input.
_MARKED = """(shown, _, kind) => {
  const boxes = document.querySelectorAll(".cards input:checked");
  return [shown, Array.from(boxes, (box) => box.value), kind];
}"""


@dataclass(eq=False)  # Gradio tells states apart by hash
class Opened:
    """The prediction that a person has opened, or why it can't be opened."""

    prediction: Prediction | None = None
    picture: bytes | None = None
    text: str = ""
    """A notice as HTML."""

    def saying(self, text: str) -> "Opened":
        """The same with another notice."""
        return Opened(self.prediction, self.picture, text)


def build(context: Context, tab: gr.Tab) -> None:
    """Build the tab inside the Blocks that are open."""
    shown, opened = gr.State(()), gr.State(Opened())
    cursors = gr.State((None, None))
    with gr.Row():
        status = gr.Dropdown(list(_STATUSES), value="any", label="Status")
        model = gr.Textbox(label="Model", placeholder="any", max_lines=1)
        submitted = gr.Dropdown(list(_TIMES), value="any time", label="Submitted in")
        owner = gr.Textbox(
            label="Whose (for operators)", placeholder="yours; a key's name, or *", max_lines=1
        )
    with gr.Row():
        newest = gr.Button("Show the newest", variant="primary")
        newer = gr.Button("Newer", interactive=False)
        older = gr.Button("Older", interactive=False)
    message = gr.HTML()
    gallery = gr.HTML(js_on_load=PICK)
    filters = [context.key, status, model, submitted, owner]
    listed = Place([shown, gallery, message, newer, older, cursors])

    def load(cursor_of: Callable[[tuple[Any, Any]], str | None]) -> Callable[..., Awaitable[Any]]:
        async def load_page(
            key: str, status: str, model: str, submitted: str, owner: str, cursors: tuple[Any, Any]
        ) -> list[Any]:
            try:
                async with context.access.client(key) as client:
                    page = await client.predictions_page(
                        cursor_of(cursors), limit=PAGE, **_query(status, model, submitted, owner)
                    )
                    pictures = await _pictures(client, page.results)
            except ServiceError as error:
                return [(), "", error_notice(error), _off(), _off(), (None, None)]
            text = (
                f"{len(page.results)} predictions on this page."
                if page.results
                else ("No prediction on this page.")
            )
            return [
                page.results,
                cards.gallery(page.results, pictures),
                notice(text),
                gr.Button(interactive=page.previous is not None),
                gr.Button(interactive=page.next is not None),
                (page.previous, page.next),
            ]

        return load_page

    inputs = [*filters, cursors]
    first = (newest.click, tab.select, context.entered.change, model.submit, owner.submit)
    listed.fill(first, load(lambda _: None), inputs)
    listed.fill([newer.click], load(lambda both: both[0]), inputs)
    listed.fill([older.click], load(lambda both: both[1]), inputs)
    gallery.select(_open(context), context.key, opened, **PRIVATE)
    _build_download(shown)
    _build_opened(context, opened)


def _build_download(shown: gr.State) -> None:
    with gr.Row():
        kind = gr.Radio(list(archive.FORMATS), value="COCO", label="Format of the download")
        pack = gr.Button("Make a ZIP of the selection")
    message = gr.HTML()
    file = gr.File(label="Download", visible=False)
    marked = gr.JSON([], visible=False)

    def make(shown: tuple[Prediction, ...], marked: list[str], kind: str) -> tuple[Any, str]:
        selected = [entry for entry in shown if entry.id in marked]
        if not selected:
            return gr.File(visible=False), notice("Select predictions first.", is_error=True)
        path = Path(tempfile.mkdtemp(dir=tempfile.gettempdir())) / f"sluice-{kind.lower()}.zip"
        path.write_bytes(archive.pack(selected, kind))
        count = "1 prediction is" if len(selected) == 1 else f"{len(selected)} predictions are"
        return gr.File(str(path), visible=True), notice(f"{count} packed.")

    pack.click(make, [shown, marked, kind], [file, message], js=_MARKED, **PRIVATE)


def _build_opened(context: Context, opened: gr.State) -> None:
    with gr.Group(visible=False) as panel:
        about = gr.HTML()
        with gr.Row():
            cancel = gr.Button("Cancel the prediction")
            again = gr.Button("Submit again")
        image = gr.File(
            label="The image once more, since images are not kept after the end",
            type="filepath",
            file_types=["image"],
        )
        message = gr.HTML()

    def show(opened: Opened) -> list[Any]:
        prediction = opened.prediction
        if prediction is None:
            return [gr.Group(visible=bool(opened.text)), opened.text, _off(), "", None]
        return [
            gr.Group(visible=True),
            cards.details(prediction, opened.picture),
            gr.Button(interactive=not prediction.ended),
            opened.text,
            None,
        ]

    async def do_cancel(key: str, opened: Opened) -> Opened:
        assert opened.prediction is not None
        try:
            async with context.access.client(key) as client:
                canceled = await client.cancel(opened.prediction.id)
        except ServiceError as error:
            return opened.saying(error_notice(error))
        return Opened(canceled, None, notice("The prediction is canceled."))

    async def do_again(key: str, opened: Opened, path: str | None) -> Opened:
        assert opened.prediction is not None
        source = _image(opened.prediction, path)
        if source is None:
            return opened.saying(notice("Choose the image's file first.", is_error=True))
        try:
            async with context.access.client(key) as client:
                new = await client.submit(source, **_options(opened.prediction))
        except ServiceError as error:
            return opened.saying(error_notice(error))
        return Opened(new, None, notice(f"Submitted again as {new.id}."))

    opened.change(show, opened, [panel, about, cancel, message, image], **PRIVATE)
    cancel.click(do_cancel, [context.key, opened], opened, **PRIVATE)
    again.click(do_again, [context.key, opened, image], opened, **PRIVATE)


def _open(context: Context) -> Callable[[str, gr.EventData], Awaitable[Opened]]:
    async def open_(key: str, event: gr.EventData) -> Opened:
        try:
            async with context.access.client(key) as client:
                prediction = await client.get(event.id)
                pictures = await _pictures(client, (prediction,))
        except ServiceError as error:
            return Opened(text=error_notice(error))
        return Opened(prediction, pictures.get(prediction.id))

    return open_


def _image(prediction: Prediction, path: str | None) -> Path | str | None:
    """The chosen file, or the URL that the prediction was submitted with; None without either."""
    if path:
        return Path(path)
    url = str(prediction.raw["input"].get("image") or "")
    return url if url.startswith(("http://", "https://")) else None


def _options(prediction: Prediction) -> Any:
    """The model, the metadata and the parameters of a prediction, to submit it again."""
    parameters = {
        name: value for name, value in prediction.raw["input"].items() if name in _PARAMETERS
    }
    return {"model": prediction.model, "metadata": prediction.metadata, **parameters}


def _query(status: str, model: str, submitted: str, owner: str) -> dict[str, str | None]:
    hours = _TIMES[submitted]
    since = datetime.now(UTC) - timedelta(hours=hours) if hours else None
    return {
        "status": None if status == "any" else status,
        "model": (model or "").strip() or None,
        "since": since.isoformat() if since else None,
        "key": (owner or "").strip() or None,
    }


async def _pictures(client: AsyncClient, predictions: tuple[Prediction, ...]) -> dict[str, bytes]:
    """The annotated images that are still kept."""

    async def picture(prediction: Prediction) -> tuple[str, bytes | None]:
        try:
            return prediction.id, await client.annotated(prediction.id)
        except ServiceError:  # it has expired: a sketch stands for it
            return prediction.id, None

    drawn = [entry for entry in predictions if entry.succeeded and entry.raw["urls"].get("image")]
    pairs = await asyncio.gather(*map(picture, drawn))
    return {name: data for name, data in pairs if data}


def _off() -> gr.Button:
    return gr.Button(interactive=False)
