"""The proofs of a model: it runs, its outputs can be read, and two forms of it agree."""

import numpy as np
import onnx
import pytest
from onnx import helper

from sluice.errors import UnsupportedModel
from sluice.models import Task
from sluice.repository.prove import prove, same_detections
from tests.support import tiny

STILL = [[8, 16, 24], [8, 16, 24], [4, 8, 4], [4, 8, 8], [0.5, 0.75, 0.25], [0.25, 0.5, 0.5]]


def detector(still=STILL, **options):
    still = np.array(still)
    return tiny.detector(still, np.zeros_like(still), **options)


def saved(made, folder, *arguments, **fields):
    onnx.save(made, folder / "model.onnx")
    _, description = tiny.described(made, *arguments, **fields)
    return folder / "model.onnx", description


@pytest.mark.parametrize("batch", [1, 4, "batch"])
def test_a_model_that_runs_is_proved(tmp_path, batch):
    prove(*saved(detector(batch=batch), tmp_path, "anchor-free"))


def test_outputs_that_contradict_the_description_are_refused(tmp_path):
    path, description = saved(detector(), tmp_path, "anchor-free", names=("a", "b", "c"))
    with pytest.raises(UnsupportedModel, match="correct its task, layout or names"):
        prove(path, description)


def test_numbers_that_are_not_finite_are_refused(tmp_path):
    still = np.array(STILL)
    still[:, 1:] = np.nan
    with pytest.raises(UnsupportedModel, match="not finite"):
        prove(*saved(detector(still), tmp_path, "anchor-free"))


def test_a_few_broken_rows_are_not(tmp_path):
    still = np.array(STILL)
    still[:, 0] = np.inf
    prove(*saved(detector(still), tmp_path, "anchor-free"))


def test_a_graph_that_can_not_be_loaded_is_refused(tmp_path):
    made = detector()
    made.graph.node.append(helper.make_node("Unheard", ["output0"], ["x"], domain="of.us"))
    with pytest.raises(UnsupportedModel, match="operators that ONNX Runtime lacks"):
        prove(*saved(made, tmp_path, "anchor-free"))


def test_a_graph_that_fails_on_an_image_is_refused(tmp_path):
    made = detector()
    made.graph.initializer[2].CopyFrom(tiny.tensor([1, 6, 4], np.int64, "shape"))
    with pytest.raises(UnsupportedModel, match="can't run the graph"):
        prove(*saved(made, tmp_path, "anchor-free"))


def changed(row, column, by):
    still = np.array(STILL)
    still[row, column] += by
    return tiny.described(detector(still), "anchor-free")


def test_the_same_detections():
    original = tiny.described(detector(), "anchor-free")
    same_detections(*original, *original)
    same_detections(*original, *changed(0, 0, 0.01))


@pytest.mark.parametrize(
    ("row", "column", "by"), [(0, 1, 5), (4, 1, -0.2), (5, 0, 0.5), (4, 0, -1)]
)
def test_other_detections(row, column, by):
    """Another place, another score, another class, and a detection that is missing."""
    with pytest.raises(UnsupportedModel, match="not be the same"):
        same_detections(*tiny.described(detector(), "anchor-free"), *changed(row, column, by))


def test_other_keypoints():
    forms = []
    for x in (8, 12):
        made = detector([*STILL, [x] * 3, [8] * 3])
        forms.append(
            tiny.described(made, "anchor-free", task=Task.POSE, extras=2, kpt_shape=(1, 2))
        )
    same_detections(*forms[0], *forms[0])
    with pytest.raises(UnsupportedModel, match="not be the same"):
        same_detections(*forms[0], *forms[1])
