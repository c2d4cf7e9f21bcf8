"""An ensemble: the models that it consists of, and their configurations.

Each version has steps of its own, whose names hold its number: `street.3.prepare`,
`street.3.network` and `street.3.finish`. The repository has the steps of the live version. Each
version's folder keeps the files of its steps, so that a rollback can make them again.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sluice.models import STEPS, Model, Recipe, step_name
from sluice.repository import config
from sluice.repository.config import HEAD, BuildOptions, parameter, parameters, quoted
from sluice.repository.description import Description
from sluice.repository.storage import CONFIG, Storage

DEFAULT_PROCESSES = 2
"""Of the first and of the last step, each."""

_CLASSES = {"prepare": "PrepareModel", "finish": "FinishModel"}
_MODEL_PY = '''\
"""Written by `sluice models`: the step `{step}` of an ensemble."""

try:
    from worker.triton_steps import {name} as TritonPythonModel
except ImportError as error:
    raise ImportError(
        f"Triton's Python can't import the steps of ensembles ({{error}}):"
        " see docs/guide/recipes.md"
    ) from error
'''
_MODEL_FILE = "model.py"
_BYTES = "data_type: TYPE_UINT8 dims: [ -1 ]"
_KEPT_KEYS = ("name", "max_batch_size", "input", "output", "parameters")


@dataclass(frozen=True)
class Step:
    """A model that is a step of a version."""

    step: str
    """One of STEPS."""
    name: str
    """The model's name."""
    files: Mapping[str, Path | str]
    """The files of its version by their names: files here, or paths in the repository."""
    text: str
    """The step's `config.pbtxt`."""


def programs(folder: Path) -> dict[str, Path]:
    """Write the programs of the steps in Python, and return them by their steps."""
    found = {}
    for step, name in _CLASSES.items():
        found[step] = folder / f"{step}.py"
        found[step].write_text(_MODEL_PY.format(step=step, name=name))
    return found


def steps(
    name: str,
    version: int,
    description: Description,
    options: BuildOptions,
    files: Mapping[str, Path],
    python: Mapping[str, Path],
    processes: int,
) -> list[Step]:
    """The steps of a version of the ensemble `name`.

    `files` are those of the network. `python` has the result of `programs`. `processes` is the
    number of processes of the first step and of the last step.
    """
    names = {step: step_name(name, version, step) for step in STEPS}
    network = config.render(names["network"], version, description, options)
    described = config.parsed(network)
    model = json.dumps(
        {key: described[key] for key in _KEPT_KEYS if key in described}, sort_keys=True
    )
    inputs = {"prepare": _PREPARE_INPUT, "finish": _finish_input(described)}
    outputs = {"prepare": _prepare_output(description), "finish": _FINISH_OUTPUT}

    def program(step: str) -> Step:
        text = "".join(
            [
                HEAD,
                f"name: {quoted(names[step])}\n",
                'backend: "python"\n',
                "max_batch_size: 0\n",
                inputs[step],
                outputs[step],
                _policy(version),
                f"instance_group [ {{ count: {processes} kind: KIND_CPU }} ]\n",
                parameter("sluice.model", model),
            ]
        )
        return Step(step, names[step], {_MODEL_FILE: python[step]}, text)

    return [
        program("prepare"),
        Step("network", names["network"], dict(files), network),
        program("finish"),
    ]


def render(name: str, version: int, description: Description, options: BuildOptions) -> str:
    """The `config.pbtxt` of the ensemble itself."""
    outputs = [f"output_{number}" for number in range(len(description.outputs))]
    own = {output: output for output in outputs}
    named = {o.name: output for o, output in zip(description.outputs, outputs, strict=True)}
    names = {step: step_name(name, version, step) for step in STEPS}
    return "".join(
        [
            HEAD,
            f"name: {quoted(name)}\n",
            'platform: "ensemble"\n',
            "max_batch_size: 0\n",
            _PREPARE_INPUT,
            _FINISH_OUTPUT,
            "ensemble_scheduling {\n",
            _scheduled(
                names["prepare"],
                version,
                {"image": "image", "request": "request"},
                {"canvas": "canvas", "facts": "facts"},
            ),
            _scheduled(names["network"], version, {description.input.name: "canvas"}, named),
            _scheduled(
                names["finish"],
                version,
                {"image": "image", "request": "request", "facts": "facts", **own},
                {"result": "result", "drawing": "drawing"},
            ),
            "}\n",
            _policy(version),
            *(parameter(*item) for item in parameters(version, description, options)),
            parameter("sluice.recipe", Recipe.ENSEMBLE),
            parameter("sluice.network", names["network"]),
        ]
    )


def archived(made: Iterable[Step], version: int) -> dict[str, str]:
    """The files that the folder of a version keeps of its steps, and where they are now."""
    return {
        f"{step.step}.{file}": f"{step.name}/{version}/{file}"
        for step in made
        for file in (*step.files, CONFIG)
    }


def restored(storage: Storage, name: str, version: int) -> list[Step]:
    """The steps of a version from what its folder keeps; none for a version of another recipe."""
    found = []
    kept = storage.files(name, version)
    for step in STEPS:
        text = storage.read(f"{name}/{version}/{step}.{CONFIG}")
        if text is None:
            return []
        files: dict[str, Path | str] = {
            file.removeprefix(f"{step}."): f"{name}/{version}/{file}"
            for file in kept
            if file.startswith(f"{step}.") and file != f"{step}.{CONFIG}"
        }
        found.append(Step(step, step_name(name, version, step), files, text.decode()))
    return found


def names_of(model: Model) -> Sequence[str]:
    """The names of the steps of a live version, in their order; none for another recipe."""
    if model.recipe is not Recipe.ENSEMBLE:
        return ()
    return [step_name(model.name, model.version, step) for step in STEPS]


_PREPARE_INPUT = f'input [ {{ name: "image" {_BYTES} }}, {{ name: "request" {_BYTES} }} ]\n'
_FINISH_OUTPUT = f'output [ {{ name: "result" {_BYTES} }}, {{ name: "drawing" {_BYTES} }} ]\n'


def _prepare_output(description: Description) -> str:
    rank = len(description.input.shape or ())
    dims = ", ".join(["-1"] * rank)
    return (
        f'output [ {{ name: "canvas" data_type: TYPE_{description.input.dtype}'
        f' dims: [ {dims} ] }}, {{ name: "facts" {_BYTES} }} ]\n'
    )


def _finish_input(network: Mapping[str, object]) -> str:
    batched = bool(network.get("max_batch_size"))
    entries = [f'{{ name: "{name}" {_BYTES} }}' for name in ("image", "request", "facts")]
    outputs: list[Mapping[str, object]] = network["output"]  # type: ignore[assignment]
    for number, output in enumerate(outputs):
        dims: list[str] = output["dims"]  # type: ignore[assignment]
        shape = ", ".join(["-1"] * batched + list(map(str, dims)))
        entries.append(
            f'{{ name: "output_{number}" data_type: {output["data_type"]} dims: [ {shape} ] }}'
        )
    return f"input [ {', '.join(entries)} ]\n"


def _scheduled(
    name: str, version: int, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> str:
    maps = "".join(
        f"    {kind} {{ key: {quoted(key)} value: {quoted(value)} }}\n"
        for kind, entries in (("input_map", inputs), ("output_map", outputs))
        for key, value in entries.items()
    )
    return f"  step {{\n    model_name: {quoted(name)}\n    model_version: {version}\n{maps}  }}\n"


def _policy(version: int) -> str:
    return f"version_policy {{ specific {{ versions: [ {version} ] }} }}\n"
