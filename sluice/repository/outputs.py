"""The meaning of a graph's outputs, told from their sizes.

Several readings may fit one set of sizes. `readings` lists them, and `choose` narrows them down.
docs/decisions/0041-heads-from-outputs.md has the table of what is told by what.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from sluice.errors import UnsupportedModel
from sluice.models import Layout, Task
from sluice.repository.onnx_file import GraphTensor, shown
from sluice.repository.trial import is_pyramid

SUPPRESSED = frozenset({Layout.END_TO_END, Layout.ROWS})
QUERIES = frozenset({Layout.QUERIES, Layout.RANKED_QUERIES})
_FLOATS = ("FP16", "FP32")
_PYRAMIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (8, 16))
_SERVED = (
    "(N, 4+C, A) of YOLOv8 and later, (N, A, 5+C) of YOLOv5, v6, v7 and YOLOX,"
    " (N, K, 6) with suppression inside, (N, K, 4+C) of RT-DETR, (M, 7) of YOLOv7,"
    " the three maps of YOLOv5, and (N, C) of classifiers"
)


@dataclass(frozen=True)
class Clues:
    """All that is known beside the sizes. None means unknown."""

    hw: tuple[int, int]
    """The input's (height, width), in pixels."""
    batch: int
    """The first side of outputs with a batch axis."""
    names: int | None = None
    """The number of class names."""
    task: Task | None = None
    layout: Layout | None = None
    kpt_shape: tuple[int, int] | None = None
    suppressed: bool | None = None
    """The graph suppresses overlaps, by its metadata or its operators."""
    queries: bool | None = None
    """The graph has RT-DETR's decoder, by its metadata."""
    rows: bool = False
    """The first side of an output may be the number of detections."""


@dataclass(frozen=True)
class Reading:
    """One meaning that fits the outputs' sizes."""

    task: Task
    layout: Layout
    outputs: tuple[GraphTensor, ...]
    """The outputs that the head reads, the main output first."""
    classes: int | None
    """C, the number of classes; None where rows hold a class id."""
    extras: int = 0
    """E: the values that the task adds to each row."""
    exact: bool = True
    """The number of rows is the one that the layout has at the input's size."""

    @property
    def label(self) -> str:
        """The reading for people."""
        if self.task is Task.CLASSIFY:
            return f"classify with {counted(self.classes)}"
        return f"{self.task} in the layout {self.layout} with {counted(self.classes)}"


def anchors_a_cell(rows: int, hw: tuple[int, int]) -> tuple[int, tuple[int, ...]] | None:
    """Return the anchors a cell, 1 or 3, and the strides of a grid with `rows` anchors in all.

    None where no grid of the usual strides has so many. `hw` is the input's size in pixels.
    """
    for strides in _PYRAMIDS:
        cells = sum(-(-hw[0] // stride) * -(-hw[1] // stride) for stride in strides)
        if rows in (cells, 3 * cells):
            return rows // cells, strides
    return None


def one_anchor_grid(reading: Reading, hw: tuple[int, int]) -> tuple[int, ...] | None:
    """Return the strides of a layout anchors with one anchor a cell, None for any other."""
    shape = reading.outputs[0].shape
    if reading.layout is Layout.ANCHORS and shape is not None:
        match anchors_a_cell(shape[1], hw):
            case (1, strides):
                return strides
    return None


def readings(outputs: Sequence[GraphTensor], clues: Clues) -> list[Reading]:
    """Return all meanings that fit the sizes. Every shape is complete, with the batch axis."""
    floats = [tensor for tensor in outputs if tensor.dtype in _FLOATS and tensor.shape]
    found = [
        reading
        for tensor in floats
        if _rank(tensor) == 3
        for reading in _tables(tensor, floats, clues)
    ]
    # Beside a table, scores (N, K) are those of boxes.
    if max(map(_rank, floats), default=0) == 2 or clues.task is Task.CLASSIFY:
        flat = [tensor for tensor in floats if _rank(tensor) == 2]
        found += [reading for tensor in flat if (reading := _flat(tensor, clues))]
    found += _maps(floats, clues)
    return found


def choose(
    found: Sequence[Reading], outputs: Sequence[GraphTensor], clues: Clues
) -> Sequence[Reading]:
    """Return the readings that the clues leave, at least one. Only their numbers tell them apart.

    Raises UnsupportedModel if none is left, with the sizes seen and what to do.
    """
    if not found:
        raise _unknown(outputs)
    found = _within_options(found, outputs, clues)
    if clues.layout is None:
        found = _without_coincidences(_by_exporter(found, clues))
    found = _with_names(found, outputs, clues)
    return _narrow(_likeliest(found), lambda reading: reading.layout is not Layout.MAPS)


def _within_options(
    found: Sequence[Reading], outputs: Sequence[GraphTensor], clues: Clues
) -> Sequence[Reading]:
    """Return the readings of the layout and the task that somebody has said."""
    # The sizes of the layout grid are those of anchors.
    layout = Layout.ANCHORS if clues.layout is Layout.GRID else clues.layout
    for option, wanted in (("layout", layout), ("task", clues.task)):
        kept = [reading for reading in found if wanted in (None, getattr(reading, option))]
        if not kept:
            keypoints = ""
            if wanted is Task.POSE and clues.kpt_shape:
                count, values = clues.kpt_shape
                keypoints = f" with {count} keypoints of {values} values"
            raise UnsupportedModel(
                f"the outputs {_listed(outputs)} fit no {option} {wanted}{keypoints}; they fit"
                f" {labels(found)}. Give --{option} to choose, or export the model again"
            )
        found = kept
    return found


def _with_names(
    found: Sequence[Reading], outputs: Sequence[GraphTensor], clues: Clues
) -> Sequence[Reading]:
    """Return the readings with as many classes as there are names."""
    fitting = [reading for reading in found if reading.classes in (None, clues.names)]
    if clues.names is not None and fitting:
        return fitting
    if clues.task is None and not any(_is_plain(reading, clues) for reading in found):
        raise _unknown(outputs)
    if clues.names is not None:
        raise _names_misfit(found, outputs, clues.names)
    return found


def _tables(tensor: GraphTensor, floats: Sequence[GraphTensor], clues: Clues) -> Iterator[Reading]:
    """Readings of one output (N, a, b)."""
    batch, a, b = tensor.shape or (0, 0, 0)
    if batch != clues.batch or _is_split(tensor, floats):
        return
    for task, extras, others in _additions(tensor, floats, clues):
        main = (tensor, *others)
        for layout, values, rows in ((Layout.ANCHOR_FREE, a, b), (Layout.ANCHORS, b, a)):
            if reading := _raw_table(Reading(task, layout, main, 0), values, rows, extras, clues):
                yield reading
        if b - 6 == extras or (extras is None and _are_keypoints(b - 6)):
            yield Reading(task, Layout.END_TO_END, main, None, b - 6)
    if b >= 5:
        yield Reading(Task.DETECT, Layout.QUERIES, (tensor,), b - 4)
    if b == 6:
        yield Reading(Task.DETECT, Layout.RANKED_QUERIES, (tensor,), None)


def _raw_table(
    reading: Reading, values: int, rows: int, extras: int | None, clues: Clues
) -> Reading | None:
    """Return `reading` of a table of `rows` with so many `values`, None if it does not fit."""
    room = values - (4 if reading.layout is Layout.ANCHOR_FREE else 5)
    if extras is None:
        extras = room - (clues.names or room)
        if not _are_keypoints(extras):
            return None
    grid = anchors_a_cell(rows, clues.hw)
    exact = grid is not None and (reading.layout is Layout.ANCHORS or grid[0] == 1)
    classes = room - extras
    # More values than rows, and not as many rows as a grid has: the axes are swapped.
    if classes < 1 or not (exact or rows >= values or classes == clues.names):
        return None
    return replace(reading, classes=classes, extras=extras, exact=exact)


def _additions(
    tensor: GraphTensor, floats: Sequence[GraphTensor], clues: Clues
) -> Iterator[tuple[Task, int | None, tuple[GraphTensor, ...]]]:
    """The tasks that a table may have: the values that each adds to a row, and its other outputs.

    None stands for keypoints of unknown number. One value more than the classes may also be one
    name too few. An angle or keypoints are therefore read only where somebody says so.
    """
    yield Task.DETECT, 0, ()
    for other in floats:
        if _is_prototypes(other, floats, clues):
            yield Task.SEGMENT, (other.shape or (0, 0))[1], (other,)
    if clues.task is Task.OBB:
        yield Task.OBB, 1, ()
    if clues.kpt_shape:
        yield Task.POSE, clues.kpt_shape[0] * clues.kpt_shape[1], ()
    elif clues.task is Task.POSE:
        yield Task.POSE, None, ()


def _are_keypoints(values: int) -> bool:
    return values >= 2 and (values % 2 == 0 or values % 3 == 0)


def _flat(tensor: GraphTensor, clues: Clues) -> Reading | None:
    """The reading of an output (N, C) or (M, 7)."""
    first, values = tensor.shape or (0, 0)
    if values == 7 and clues.rows and clues.task is not Task.CLASSIFY:
        return Reading(Task.DETECT, Layout.ROWS, (tensor,), None)
    if first != clues.batch or clues.suppressed:
        return None
    # A classifier has no layout: the default is written.
    return Reading(Task.CLASSIFY, clues.layout or Layout.ANCHOR_FREE, (tensor,), values)


def _maps(floats: Sequence[GraphTensor], clues: Clues) -> Iterator[Reading]:
    """Readings of several outputs (N, B, h, w, 5+C) whose strides double."""
    groups: defaultdict[tuple[int, int], list[GraphTensor]] = defaultdict(list)
    for tensor in floats:
        if _rank(tensor) == 5 and tensor.shape and tensor.shape[0] == clues.batch:
            groups[tensor.shape[1], tensor.shape[4]].append(tensor)
    for (_, values), group in groups.items():
        group.sort(key=lambda tensor: -(tensor.shape or (0, 0, 0))[2])
        sides = [(t.shape[2], t.shape[3]) for t in group if t.shape]
        if len(group) > 1 and values > 5 and is_pyramid(sides, clues.hw):
            yield Reading(Task.DETECT, Layout.MAPS, tuple(group), values - 5)


def _is_prototypes(tensor: GraphTensor, floats: Sequence[GraphTensor], clues: Clues) -> bool:
    """True for (N, P, height/4, width/4), at another scale also 2 or 8, if it is the only one."""
    if _rank(tensor) != 4 or sum(_rank(other) == 4 for other in floats) > 1:
        return False
    batch, _, height, width = tensor.shape or (0, 0, 0, 0)
    return batch == clues.batch and any(
        (height * step, width * step) == clues.hw for step in (2, 4, 8)
    )


def _is_split(tensor: GraphTensor, floats: Sequence[GraphTensor]) -> bool:
    """True where boxes (N, A, 4) and scores (N, A, C) are two outputs, one of which is this."""
    sizes = (tensor.shape or (0, 0, 0))[1:]
    for other in floats:
        if other is tensor or other.shape is None or _rank(other) != 3:
            continue
        others = other.shape[1:]
        if any(sizes[i] == others[i] and 4 in (sizes[1 - i], others[1 - i]) for i in (0, 1)):
            return True
    return False


def _by_exporter(found: Sequence[Reading], clues: Clues) -> Sequence[Reading]:
    """Narrow by what the exporter wrote about suppression and the decoder."""
    if clues.queries is not None:
        found = _narrow(found, lambda r: (r.layout in QUERIES) == clues.queries)
    if clues.suppressed is not None and not clues.queries:
        found = _narrow(found, lambda r: (r.layout in SUPPRESSED) == clues.suppressed)
    return found


def _without_coincidences(found: Sequence[Reading]) -> Sequence[Reading]:
    """Leave out rows that know their boxes, where the rows are as many as a grid's anchors."""
    grids = {
        reading.outputs[0].name
        for reading in found
        if reading.exact and reading.layout in (Layout.ANCHORS, Layout.ANCHOR_FREE)
    }
    free = QUERIES | SUPPRESSED
    return [r for r in found if not (r.layout in free and r.outputs[0].name in grids)]


def _is_plain(reading: Reading, clues: Clues) -> bool:
    """Return whether sizes alone tell the reading. Any table (N, K, 5 or more) may be queries."""
    return reading.exact and (reading.layout not in QUERIES or bool(clues.queries or clues.layout))


def _likeliest(found: Sequence[Reading]) -> Sequence[Reading]:
    """Prefer the right number of rows, then masks."""
    found = _narrow(found, lambda reading: reading.exact)
    return _narrow(found, lambda reading: reading.task is Task.SEGMENT)


def _narrow(found: Sequence[Reading], keep: Callable[[Reading], bool]) -> Sequence[Reading]:
    """Return the readings to keep, or all where none would be left."""
    return [reading for reading in found if keep(reading)] or found


def counted(classes: int | None) -> str:
    if classes is None:
        return "any number of classes"
    return f"{classes} class{'es' * (classes != 1)}"


def _rank(tensor: GraphTensor) -> int:
    return len(tensor.shape or ())


def _listed(outputs: Iterable[GraphTensor]) -> str:
    return ", ".join(f"{tensor.name} {shown(tensor.shape)} {tensor.dtype}" for tensor in outputs)


def labels(found: Iterable[Reading]) -> str:
    return " or ".join(sorted({reading.label for reading in found}))


def _unknown(outputs: Sequence[GraphTensor]) -> UnsupportedModel:
    return UnsupportedModel(
        f"the outputs are {_listed(outputs)}, and none is one that Sluice serves: {_SERVED}."
        " Export the model again with its whole head, as `yolo export format=onnx` does."
        " If it is one of these, give --names, --task and --layout"
    )


def _names_misfit(
    found: Sequence[Reading], outputs: Sequence[GraphTensor], names: int
) -> UnsupportedModel:
    found = _likeliest(found)
    hint = ""
    if any(reading.layout is Layout.ANCHOR_FREE for reading in found):
        hint = ", or --task obb or --task pose with --kpt-shape if the model has more than boxes"
    return UnsupportedModel(
        f"{names} class names don't fit the outputs {_listed(outputs)}, which are"
        f" {labels(found)}; give --names with so many names{hint}"
    )
