"""Names of models."""

import pytest

from sluice.errors import RepositoryError
from sluice.repository import naming


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("yolo11n.onnx", "yolo11n"),
        ("runs/detect/weights/best.onnx", "best"),
        ("/tmp/My Model (1).onnx", "My-Model-1"),
        ("modèle_v1.2.onnx", "modele_v1.2"),
        ("人.onnx", "model"),
        (".onnx", "onnx"),
        ("-_.x.onnx", "x"),
        ("a" * 200 + ".onnx", "a" * 100),
        ("https://example.com/a/yolo%20v5.onnx?token=b/c.d#e", "yolo-v5"),
        ("https://example.com", "model"),
    ],
)
def test_a_name_is_made_from_the_last_part(source: str, name: str) -> None:
    assert naming.from_source(source) == name
    assert naming.check(name) == name


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "a b", "é", "a" * 101, "..", "-a", "a\n"])
def test_a_name_that_is_not_valid_is_refused(name: str) -> None:
    with pytest.raises(RepositoryError, match="can't be a model's name"):
        naming.check(name)


def test_a_name_of_an_ensembles_step_is_refused() -> None:
    with pytest.raises(RepositoryError, match="a step of an ensemble"):
        naming.check("street.3.network")
