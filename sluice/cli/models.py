"""`sluice models`: Triton's model repository, changed while Triton serves.

The exit status is 0 when all is as asked.
The exit status is 1 when a model was refused; then nothing of it was changed.
The exit status is 2 for wrong options, and 3 if Triton or Redis does not answer at the start.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sluice.cli import completion, extras
from sluice.cli.console import exit_on_error
from sluice.errors import RedisUnavailable, SluiceError

if TYPE_CHECKING:
    from sluice.cli.model_tools import ModelTools

app = typer.Typer(
    help="Models in Triton's model repository: add a file, and every Triton loads it. "
    "Exit status: 0 done, 1 refused and nothing changed, 2 wrong options.",
    no_args_is_help=True,
)

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The model's name.", autocompletion=completion.models)
]
Repository = Annotated[
    str | None,
    typer.Option(
        help="The model repository: a folder, or s3://bucket/prefix. "
        "Default: SLUICE_MODELS_REPOSITORY, else that of the running stack, "
        "else ./model_repository."
    ),
]
State = Annotated[
    Path | None,
    typer.Option(help="The folder that `sluice up` got by --state. Default: its default."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Sources = Annotated[
    list[str],
    typer.Argument(metavar="FILE|URL|FOLDER", help="ONNX files, or folders of them."),
]
ModelName = Annotated[
    str | None, typer.Option(help="The model's name. Default: from the file's name.")
]
ClassNames = Annotated[
    str | None,
    typer.Option(
        help="The classes' names in order: a,b,c, a JSON list, or a file with one a line."
    ),
]
TaskName = Annotated[
    str | None, typer.Option(help="detect, segment, pose, obb or classify. Default: as it is read.")
]
Imgsz = Annotated[
    str | None,
    typer.Option(help="The input's side, or HEIGHT,WIDTH, in pixels; for graphs with open sides."),
]
LayoutName = Annotated[
    str | None, typer.Option(help="The layout of the outputs. Default: as it is read.")
]
KptShape = Annotated[
    str | None, typer.Option(help="For pose: the number of keypoints, and 2 or 3 values: 17,3.")
]
LetterboxName = Annotated[
    str | None,
    typer.Option(
        "--letterbox", help="The image's place: centre, corner or stretch. Default: as it is read."
    ),
]
ChannelOrderName = Annotated[
    str | None,
    typer.Option(
        "--channel-order", help="The colours of a float input: rgb or bgr. Default: as it is read."
    ),
]
PixelMax = Annotated[
    int | None,
    typer.Option(help="White in a float input: 1 or 255. Default: as it is read."),
]
AnchorSizes = Annotated[
    str | None,
    typer.Option(
        "--anchors", help="For raw maps: for each map a JSON list of widths and heights, in pixels."
    ),
]
Sha256 = Annotated[str | None, typer.Option(help="The file's SHA-256, required for a URL.")]
NoFold = Annotated[
    bool, typer.Option("--no-fold", help="Serve the graph as it came; more bytes are sent.")
]
PrecisionName = Annotated[
    str, typer.Option("--precision", help="fp32, bf16, fp16, or int8 with --calibrate.")
]
Calibrate = Annotated[Path | None, typer.Option(help="A folder of images, for int8.")]
EngineName = Annotated[
    str, typer.Option("--engine", help="The library on a CPU: openvino or onnxruntime.")
]
Tensorrt = Annotated[
    bool, typer.Option("--tensorrt", help="On a GPU: TensorRT in fp16. Never run by us.")
]
MaxBatch = Annotated[int, typer.Option(min=1, help="The most images of one run.")]
Ensemble = Annotated[
    bool,
    typer.Option("--ensemble", help="Decode, prepare, read and draw in Triton, not in workers."),
]
Processes = Annotated[
    int,
    typer.Option(min=1, help="With --ensemble: the processes of its first and of its last step."),
]


@app.command()
def add(
    sources: Sources,
    name: ModelName = None,
    version: Annotated[
        int | None,
        typer.Option(
            min=1, help="The version's number, above all before. Adds the same file again, too."
        ),
    ] = None,
    names: ClassNames = None,
    task: TaskName = None,
    imgsz: Imgsz = None,
    layout: LayoutName = None,
    kpt_shape: KptShape = None,
    letterbox: LetterboxName = None,
    channel_order: ChannelOrderName = None,
    pixel_max: PixelMax = None,
    anchors: AnchorSizes = None,
    sha256: Sha256 = None,
    no_fold: NoFold = False,
    precision: PrecisionName = "fp32",
    calibrate: Calibrate = None,
    engine: EngineName = "openvino",
    tensorrt: Tensorrt = False,
    max_batch: MaxBatch = 8,
    ensemble: Ensemble = False,
    processes: Processes = 2,
    keep: Annotated[int, typer.Option(min=0, help="The old versions to keep.")] = 2,
    repository: Repository = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Add models, or new versions of them: read, fold, prove, write, load, try.

    The old version serves until Triton has loaded the new one. If a Triton refuses, all go back.

    Example: sluice models add yolo11n.onnx
    """
    with _tools(repository, state) as tools:
        from sluice.cli.model_adding import Adding, Request, options  # noqa: PLC0415 - as in `_tools`

        asked = options(
            names=names, task=task, imgsz=imgsz, layout=layout, kpt_shape=kpt_shape,
            letterbox=letterbox, channel_order=channel_order, pixel_max=pixel_max, anchors=anchors,
            fold=not no_fold, precision=precision, calibrate=calibrate, engine=engine,
            tensorrt=tensorrt, max_batch=max_batch, ensemble=ensemble, processes=processes,
        )  # fmt: skip
        adding = Adding(tools, asked, as_json=as_json)
        for request in Request.each(sources, name, sha256):
            adding.add(request, version=version, keep=keep)
        adding.finish()


@app.command()
def check(
    sources: Sources,
    name: ModelName = None,
    names: ClassNames = None,
    task: TaskName = None,
    imgsz: Imgsz = None,
    layout: LayoutName = None,
    kpt_shape: KptShape = None,
    letterbox: LetterboxName = None,
    channel_order: ChannelOrderName = None,
    pixel_max: PixelMax = None,
    anchors: AnchorSizes = None,
    sha256: Sha256 = None,
    no_fold: NoFold = False,
    precision: PrecisionName = "fp32",
    calibrate: Calibrate = None,
    engine: EngineName = "openvino",
    tensorrt: Tensorrt = False,
    max_batch: MaxBatch = 8,
    ensemble: Ensemble = False,
    processes: Processes = 2,
    repository: Repository = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Say what `add` would do. Changes nothing.

    Example: sluice models check yolo11n.onnx --imgsz 960
    """
    with _tools(repository, state) as tools:
        from sluice.cli.model_adding import Adding, Request, options  # noqa: PLC0415 - as in `_tools`

        asked = options(
            names=names, task=task, imgsz=imgsz, layout=layout, kpt_shape=kpt_shape,
            letterbox=letterbox, channel_order=channel_order, pixel_max=pixel_max, anchors=anchors,
            fold=not no_fold, precision=precision, calibrate=calibrate, engine=engine,
            tensorrt=tensorrt, max_batch=max_batch, ensemble=ensemble, processes=processes,
        )  # fmt: skip
        adding = Adding(tools, asked, as_json=as_json)
        for request in Request.each(sources, name, sha256):
            adding.check(request)
        adding.finish()


@app.command("list")
def list_(repository: Repository = None, state: State = None, as_json: Json = False) -> None:
    """List the models, and their state in each Triton.

    Example: sluice models list
    """
    with _tools(repository, state) as tools:
        from sluice.cli import model_table  # noqa: PLC0415 - as in `_tools`

        model_table.list_(tools, as_json=as_json)


@app.command()
def show(
    name: Name, repository: Repository = None, state: State = None, as_json: Json = False
) -> None:
    """Show all that is known about one model.

    Example: sluice models show codes
    """
    with _tools(repository, state) as tools:
        from sluice.cli import model_table  # noqa: PLC0415 - as in `_tools`

        model_table.show(tools, name, as_json=as_json)


@app.command()
def rollback(
    name: Name,
    version: Annotated[
        int | None, typer.Option(min=1, help="The version to go back to. Default: the one before.")
    ] = None,
    repository: Repository = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Make an older version live again, as it was.

    Example: sluice models rollback yolo11n --version 1
    """
    with _tools(repository, state) as tools:
        from sluice.cli import model_table  # noqa: PLC0415 - as in `_tools`

        model_table.changed(tools, tools.repository.rollback(name, version), as_json=as_json)


@app.command()
def remove(
    name: Name,
    now: Annotated[
        bool, typer.Option("--now", help="Wait for no prediction; those that are left fail.")
    ] = False,
    repository: Repository = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Remove a model. New predictions are refused at once, and accepted ones still run.

    Example: sluice models remove yolo11n
    """
    with _tools(repository, state) as tools:
        tools.repository.remove(name, (lambda: None) if now else tools.drain(name))
        with suppress(RedisUnavailable):  # the removal is done, and the list expires
            tools.forget_kept_list()
    typer.echo(json.dumps({"name": name, "removed": True}) if as_json else f"{name} is removed")


@contextmanager
def _tools(repository: str | None, state: Path | None) -> Iterator["ModelTools"]:
    """The repository and its Tritons. An error inside ends the command with status 1."""
    with exit_on_error(SluiceError, ValueError, OSError):
        extras.need("models")
        # Imported here: at the top, the packages would slow the start of every command.
        from sluice.cli.model_tools import ModelTools  # noqa: PLC0415
        from sluice.settings import Settings  # noqa: PLC0415

        tools = ModelTools(Settings.from_env(), repository=repository, state=state)
        try:
            yield tools
        finally:
            tools.close()
