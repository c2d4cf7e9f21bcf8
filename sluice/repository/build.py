"""From a model file to the files of a version: read, described, folded, proved.

The way of a graph: its batch axis is opened, preparation and selection are folded in, int8 is
quantized, and one inference proves the result. No step reads the file's name.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import onnx

from sluice.errors import UnsupportedModel
from sluice.models import Recipe
from sluice.repository import batch, config, ensemble, metadata, onnx_file, prove
from sluice.repository import fold as folding
from sluice.repository.config import BuildOptions, Engine, Precision
from sluice.repository.description import Description, Overrides, describe
from sluice.repository.ensemble import DEFAULT_PROCESSES, Step
from sluice.repository.onnx_file import OnnxFile

SERVED = "model.onnx"
SOURCE = "source.onnx"
_EXTERNAL = "model.onnx.data"  # the weights of a graph that is too large for one file
_ONE_FILE_BYTES = 2**31 - 2**24


@dataclass(frozen=True)
class Options:
    """The options of a file that is added."""

    overrides: Overrides = field(default_factory=Overrides)
    fold: bool = True
    engine: Engine = Engine.OPENVINO
    precision: Precision = Precision.FP32
    calibrate: Path | None = None
    """A folder of images, for int8."""
    tensorrt: bool = False
    max_batch: int = 8
    ensemble: bool = False
    """Preparation and reading of the outputs run inside Triton too."""
    processes: int = DEFAULT_PROCESSES
    """Of the first step of an ensemble, and of its last step."""

    def check(self) -> None:
        """Raises UnsupportedModel where the options contradict each other."""
        if self.precision is Precision.INT8 and self.calibrate is None:
            raise UnsupportedModel("--precision int8 needs --calibrate FOLDER, a folder of images")
        if self.calibrate is not None and self.precision is not Precision.INT8:
            raise UnsupportedModel("--calibrate is for --precision int8; leave it out")
        if self.engine is Engine.ONNXRUNTIME and self.precision in {
            Precision.BF16,
            Precision.FP16,
        }:
            raise UnsupportedModel(
                f"--precision {self.precision} needs --engine openvino;"
                " ONNX Runtime computes in the types of the graph"
            )

    def text(self) -> str:
        """The same text for the same options."""
        values = asdict(self) | {"calibrate": str(self.calibrate or "")}
        if not self.ensemble:  # a model that was added before there were ensembles is the same
            del values["ensemble"], values["processes"]
        return json.dumps(values, sort_keys=True)


@dataclass(frozen=True)
class Built:
    """A version's files, and what is known about the model."""

    description: Description
    files: Mapping[str, Path]
    """The files of the version's folder, by their names."""
    options: BuildOptions
    folded: bool
    programs: Mapping[str, Path] = field(default_factory=dict)
    """For an ensemble, the programs of its steps in Python."""
    processes: int = DEFAULT_PROCESSES

    @property
    def recipe(self) -> Recipe:
        return Recipe.ENSEMBLE if self.programs else Recipe.WORKER

    def render(self, name: str, version: int) -> str:
        """The `config.pbtxt` that makes it live as `version` of the model `name`."""
        render = ensemble.render if self.programs else config.render
        return render(name, version, self.description, self.options)

    def own_files(self) -> Mapping[str, Path]:
        """The files of the version's folder, without those of an ensemble's steps."""
        if not self.programs:
            return self.files
        return {name: path for name, path in self.files.items() if name == SOURCE}

    def steps(self, name: str, version: int) -> list[Step]:
        """The steps of an ensemble; none for another recipe."""
        if not self.programs:
            return []
        files = {name: path for name, path in self.files.items() if name != SOURCE}
        return ensemble.steps(
            name, version, self.description, self.options, files, self.programs, self.processes
        )


def source_of(path: Path, options: Options) -> str:
    """Tells the same file, added with the same options, from another one.

    Raises UnsupportedModel where the file can't be read.
    """
    file = onnx_file.read(path)
    sha256 = hashlib.sha256(file_digest(path).encode())
    for _, data in _external_files(file):
        sha256.update(file_digest(data).encode())
    sha256.update(options.text().encode())
    return f"sha256:{sha256.hexdigest()}"


def build(path: Path, options: Options, folder: Path, source: str | None = None) -> Built:
    """Make a version of the file at `path`, with its files in `folder` or where they were.

    `source` is that of `source_of`, if the caller knows it already.

    Raises UnsupportedModel, with what to do, if the model can't be served.
    """
    options.check()
    original = onnx_file.read(path)
    description = describe(original, metadata.parse(original.metadata), options.overrides)
    file, description = batch.open_batch(original, description)
    unfolded = file
    if options.fold:
        file, description = folding.fold(file, description)
    folded = file is not unfolded
    if options.precision is Precision.INT8:
        file, description = _quantized(file, description, options)
    engine = options.engine
    if engine is Engine.OPENVINO and _is_quantized(original):
        engine = Engine.ONNXRUNTIME
        note = "The graph came quantized, and runs in ONNX Runtime: OpenVINO reads it wrongly."
        description = replace(description, notes=(*description.notes, note))
    files = _save(original, file, folder)
    prove.prove(files[SERVED], description)
    build_options = BuildOptions(
        engine=engine,
        precision=options.precision,
        tensorrt=options.tensorrt,
        max_batch=options.max_batch,
        source=source or source_of(path, options),
    )
    programs = ensemble.programs(folder) if options.ensemble else {}
    return Built(description, files, build_options, folded, programs, options.processes)


def _is_quantized(file: OnnxFile) -> bool:
    """True for a graph of an exporter's own int8. OpenVINO misreads signed activations."""
    return any(node.op_type == "QuantizeLinear" for node in file.model.graph.node)


def _quantized(
    file: OnnxFile, description: Description, options: Options
) -> tuple[OnnxFile, Description]:
    # Imported here: quantization brings packages that nothing else needs.
    from sluice.repository import quantize  # noqa: PLC0415

    assert options.calibrate is not None
    return quantize.quantize(file, description, options.calibrate)


def _save(original: OnnxFile, served: OnnxFile, folder: Path) -> dict[str, Path]:
    """The files of a version: the served graph, and beside it the file as it came."""
    kept = dict(_external_files(original))
    if served.model is original.model:
        return {SERVED: original.path, **kept}
    model = onnx.ModelProto()
    model.CopyFrom(served.model)
    files = {SERVED: folder / SERVED, SOURCE: original.path, **kept}
    if kept:
        onnx.load_external_data_for_model(model, str(original.path.parent))
        if model.ByteSize() > _ONE_FILE_BYTES:
            onnx.save(
                model,
                folder / SERVED,
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location=_EXTERNAL,
            )
            return files | {_EXTERNAL: folder / _EXTERNAL}
    onnx.save(model, folder / SERVED)
    return files


def _external_files(file: OnnxFile) -> Iterator[tuple[str, Path]]:
    """The files of weights beside a graph: their names in the graph, and where they lie.

    Raises UnsupportedModel for weights in a folder below, since a version has none.
    """
    for path in file.external_files:
        if path.parent != file.path.parent:
            raise UnsupportedModel(
                f"the file's weights are in {str(path.relative_to(file.path.parent))!r}, which is"
                " not beside it; export it as one file"
            )
        yield path.name, path


def file_digest(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
