"""`sluice submit`: many images through a running service, with their results in files."""

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from sluice.cli import completion, extras
from sluice.cli.console import Exit, exit_on_error
from sluice.cli.service import URL, Key, Url, answering, print_json
from sluice.cli.signals import handled, interrupt
from sluice.cli.submission import clips, formats
from sluice.cli.submission.formats import Format
from sluice.cli.submission.frames import FrameFolder
from sluice.cli.submission.item import Clip, InputError, Item, Sampling
from sluice.cli.submission.items import Folders, items
from sluice.cli.submission.run import Result, Run, RunError, submitted
from sluice.cli.submission.video import Video
from sluice.client import Client, ServiceError
from sluice.client.calls import Options
from sluice.client.results import JsonObject
from sluice.tiles import MAX_OVERLAP, MAX_SIDE, MIN_SIDE

_SHOWN = 20


def submit(
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE...",
            help="Images, videos, folders, patterns such as 'photos/**/*.jpg', and URLs.",
        ),
    ] = None,
    manifest: Annotated[
        list[Path] | None,
        typer.Option(
            help='A file with a path or URL a line, or JSON: {"image": …, "metadata": …}.'
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            help="A folder for the results. The same command goes on with an interrupted run.",
        ),
    ] = None,
    formats_: Annotated[
        list[Format] | None,
        typer.Option("--format", "-f", help="Write this as well, beside JSON lines. Needs --out."),
    ] = None,
    annotate: Annotated[
        bool,
        typer.Option(
            help="Fetch the annotated images too, and make videos of frames. Needs --out."
        ),
    ] = False,
    every: Annotated[
        int | None,
        typer.Option(min=1, help="Of videos and folders of frames, each N-th frame."),
    ] = None,
    fps: Annotated[
        float | None, typer.Option(min=0.001, help="Of videos, at most so many frames a second.")
    ] = None,
    frame_rate: Annotated[
        float | None,
        typer.Option(min=0.001, help="The images of a folder are frames, so many a second."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(help="The model; the default is the api's.", autocompletion=completion.models),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(min=0, max=1, help="The lowest confidence of a detection.")
    ] = None,
    iou: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Of boxes that overlap more, the weaker one is removed."),
    ] = None,
    max_detections: Annotated[
        int | None, typer.Option(min=1, help="The most detections of an image.")
    ] = None,
    classes: Annotated[
        list[str] | None, typer.Option("--class", help="Only this class; repeat for several.")
    ] = None,
    slice_: Annotated[
        bool, typer.Option("--slice", help="Cut large images into tiles, for small objects.")
    ] = False,
    tile: Annotated[
        int | None,
        typer.Option(min=MIN_SIDE, max=MAX_SIDE, help="A tile's side in pixels. Means --slice."),
    ] = None,
    overlap: Annotated[
        float | None,
        typer.Option(min=0, max=MAX_OVERLAP, help="The part that tiles share. Means --slice."),
    ] = None,
    priority: Annotated[
        str | None,
        typer.Option(help="high, normal or low.", autocompletion=completion.priorities),
    ] = None,
    concurrency: Annotated[
        int, typer.Option(min=1, max=256, help="Images under way at a time.")
    ] = 16,
    retry_for: Annotated[
        float, typer.Option(min=0, help="Seconds to go on while the service does not answer.")
    ] = 600.0,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="With --out, print what was written and what failed as JSON."),
    ] = False,
    url: Url = URL,
    key: Key = None,
) -> None:
    """Submit images, wait for their results, and write these as JSON lines.

    Without --out the lines go to the standard output. With --out they go to results.jsonl there,
    and an interrupted run goes on where it was: no image is submitted twice.

    The exit status is 0 if all images succeeded, 1 if not, 3 if the service is not available.

    Examples:

        sluice submit photos/ --out results --format coco --annotate

        sluice submit desk.jpg --confidence 0.4

        sluice submit --manifest list.txt --out results --model yolo11n

        sluice submit aerial/ --out results --tile 640 --overlap 0.3

        sluice submit clip.mp4 --fps 5 --out results --annotate
    """
    if not images and not manifest:
        raise typer.BadParameter("name images, or a --manifest", param_hint="IMAGE")
    if out is None and (formats_ or annotate):
        raise typer.BadParameter("--format and --annotate need --out")
    if every and fps:
        raise typer.BadParameter("give --every or --fps, not both")
    sampling = Sampling(every or 1, fps)
    folders = Folders(are_clips=bool(every or fps or frame_rate), rate=frame_rate)
    options: Options = {
        "model": model,
        "confidence": confidence,
        "iou": iou,
        "max_detections": max_detections,
        "classes": classes,
        "slice": slicing(slice_, tile, overlap),
        "visualize": annotate or None,
        "priority": priority,  # type: ignore[typeddict-item]  # the service judges
    }
    with exit_on_error(InputError, RunError, ServiceError, OSError):
        sources = list(items(images or [], manifest or [], folders))
        _check_clips(sources, sampling, folders)
        run = Run(out, options)
        total, left = clips.count(sources, sampling), clips.left(sources, sampling, run.done)
        names = {source.name for source in sources}
        with (
            answering(url),
            Client(url, key, retry_for_s=retry_for) as client,
            _ends_at_ctrl_c(out),
        ):
            results = submitted(client, run, left, options, concurrency, annotate=annotate)
            failed = _shown(
                run.keep(results),
                done=sum(1 for result in run.results() if result.is_of(names)),
                total=total,
                lines=out is None,
            )
        if out:
            failed = [
                result for result in run.results() if result.is_of(names) and not result.succeeded
            ]
            total = sum(1 for result in run.results() if result.is_of(names))
            written = _write(out, run, formats_ or [], annotated=annotate)
            if annotate:
                written += _write_videos(out, run, sources)
            if as_json:
                _print_summary(total, failed, written)
    if failed:
        _tell(failed, max(total, len(failed)))
        raise typer.Exit(1)


def _check_clips(sources: Sequence[Item | Clip], sampling: Sampling, folders: Folders) -> None:
    """End the command where the clips can't be read as asked."""
    if any(isinstance(source, Video) for source in sources):
        extras.need("video")
    if sampling.fps and folders.rate is None:
        for source in sources:
            if isinstance(source, FrameFolder):
                raise typer.BadParameter(
                    f"{source.name} is a folder of images, whose rate is not known: give"
                    " --frame-rate too, or --every instead of --fps"
                )


def slicing(on: bool, tile: int | None, overlap: float | None) -> bool | JsonObject | None:
    """Return the parameter `slice` that the three options stand for; None for none of them."""
    given = {"size": tile, "overlap": overlap}
    return {name: value for name, value in given.items() if value is not None} or on or None


def _shown(results: Iterable[Result], *, done: int, total: int, lines: bool) -> list[Result]:
    """Show the progress, print the results if `lines` is set, and return those that failed."""
    failed, completed = [], done
    bars = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    with bars:
        task = bars.add_task("images", total=total, completed=done)
        for result in results:
            if lines:
                typer.echo(result.to_json())
            if not result.succeeded:
                failed.append(result)
            bars.advance(task)
            completed += 1
        bars.update(task, total=completed)  # the number of frames was an estimate
    return failed


class _Rate(ProgressColumn):
    """Images a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.1f}/s" if task.speed else "", style="progress.data.speed")


def _print_summary(total: int, failed: Sequence[Result], written: Sequence[Path]) -> None:
    lost = [
        {"input": result.input, "error": result.error, "error_code": result.error_code}
        for result in failed
    ]
    paths = [str(path) for path in written]
    print_json({"total": total, "succeeded": total - len(lost), "failed": lost, "written": paths})


def _write(out: Path, run: Run, kinds: Iterable[Format], *, annotated: bool) -> list[Path]:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    paths = [out / "results.jsonl", *(formats.write(kind, out, run.results()) for kind in kinds)]
    if annotated and (folder := out / "annotated").is_dir():
        paths.append(folder)
    console.print(f"written: {escape(', '.join(map(str, paths)))}")
    return paths


def _write_videos(out: Path, run: Run, sources: Iterable[Item | Clip]) -> list[Path]:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    paths = []
    for source in sources:
        if not isinstance(source, Item) and source.timing():
            extras.need("video")
            with console.status(f"writing the annotated video of {escape(source.name)}"):
                path = clips.write_annotated(source, run, out)
            if path:
                console.print(f"written: {escape(str(path))}")
                paths.append(path)
    return paths


def _tell(failed: Sequence[Result], total: int) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"{len(failed)} of {total} images failed:", style="bold red")
    for result in failed[:_SHOWN]:
        console.print(f"  {escape(result.input)}: {escape(result.error or 'no reason')}")
    if len(failed) > _SHOWN:
        console.print(f"  and {len(failed) - _SHOWN} more")


@contextmanager
def _ends_at_ctrl_c(out: Path | None) -> Iterator[None]:
    """End the process at Ctrl-C, without waiting for the calls that are under way."""
    try:
        with handled(interrupt):  # a shell's background job would ignore SIGINT
            yield
    except KeyboardInterrupt:
        text = "; the same command goes on where this one was" if out else ""
        Console(stderr=True).print(f"interrupted{text}")
        sys.stdout.flush()
        os._exit(Exit.INTERRUPTED)
