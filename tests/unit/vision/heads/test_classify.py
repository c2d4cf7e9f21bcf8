from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sluice.errors import UnsupportedModel
from sluice.models import Model, Task
from sluice.vision import heads
from sluice.vision.heads import Classification, DecodeParameters
from sluice.vision.letterbox import CentreCrop, Letterbox

MakeModel = Callable[..., Model]


def decode(model: Model, values: list[float], **parameters: Any) -> Classification:
    view = heads.fit(model, (50, 100))
    result = heads.decode(
        model, {"output0": np.array(values, np.float32)}, DecodeParameters(**parameters), view
    )
    assert isinstance(result, Classification)
    return result


def test_classes_come_out_best_first_whatever_the_confidence(make_model: MakeModel) -> None:
    result = decode(make_model(Task.CLASSIFY, classes=4), [0.1, 0.6, 0.1, 0.2], confidence=0.9)
    assert result.class_ids.tolist() == [1, 3, 0, 2]
    assert result.scores == pytest.approx([0.6, 0.2, 0.1, 0.1])
    assert result.class_ids.dtype == np.int64
    assert result.scores.dtype == np.float32
    assert len(result) == 4


def test_only_max_detections_and_only_the_wanted_classes_come_out(make_model: MakeModel) -> None:
    model = make_model(Task.CLASSIFY, classes=4)
    assert decode(model, [0.1, 0.6, 0.1, 0.2], max_detections=2).class_ids.tolist() == [1, 3]
    assert decode(model, [0.1, 0.6, 0.1, 0.2], classes=(0, 3)).class_ids.tolist() == [3, 0]
    assert len(decode(model, [0.1, 0.6, 0.1, 0.2], classes=())) == 0


@pytest.mark.parametrize("logits", [[2.0, -1.0, 0.5], [200.0, 0.0, 3.0], [0.2, 0.2, 0.2]])
def test_logits_become_probabilities(make_model: MakeModel, logits: list[float]) -> None:
    result = decode(make_model(Task.CLASSIFY), logits)
    exponents = np.exp(np.array(logits) - max(logits))
    assert result.scores.sum() == pytest.approx(1)
    assert result.scores == pytest.approx(
        sorted(exponents / exponents.sum(), reverse=True), abs=1e-6
    )


def test_scores_that_are_not_finite_are_left_out(make_model: MakeModel) -> None:
    result = decode(make_model(Task.CLASSIFY), [np.nan, 0.7, np.inf])
    assert result.class_ids.tolist() == [1]


def test_another_number_of_classes_is_explained(make_model: MakeModel) -> None:
    with pytest.raises(
        UnsupportedModel,
        match=r"classify with 3 classes: its output should be \(3,\), but it is \(4,\)",
    ):
        decode(make_model(Task.CLASSIFY), [0.1, 0.6, 0.1, 0.2])


def test_classifiers_see_the_middle_and_others_all_of_the_image(make_model: MakeModel) -> None:
    assert heads.fit(make_model(Task.CLASSIFY), (50, 100)) == CentreCrop.fit((50, 100), (64, 64))
    for task in set(Task) - {Task.CLASSIFY}:
        assert heads.fit(make_model(task), (50, 100)) == Letterbox.fit((50, 100), (64, 64))
