"""Metadata as exporters write it, and as nobody should."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.models import Task
from sluice.repository.metadata import MAX_CLASSES, Metadata, parse

NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


def test_a_file_of_ultralytics_gives_all_fields() -> None:
    metadata = parse(
        {
            "description": "Ultralytics YOLO11n-pose model",
            "stride": "32",
            "task": "pose",
            "head": "Pose",
            "batch": "1",
            "imgsz": "[480, 640]",
            "names": "{0: 'cat', 1: \"dog's\"}",
            "args": "{'batch': 1, 'nms': True, 'quantize': None}",
            "channels": "3",
            "end2end": "False",
            "kpt_shape": "[17, 3]",
        }
    )
    assert metadata == Metadata(
        task=Task.POSE,
        names=("cat", "dog's"),
        imgsz=(480, 640),
        stride=32,
        batch=1,
        channels=3,
        kpt_shape=(17, 3),
        head="Pose",
        end2end=False,
        nms=True,
    )


def test_no_metadata_is_no_error() -> None:
    assert parse({}) == Metadata()
    assert parse({"names": "", "imgsz": " ", "stride": "None"}) == Metadata()


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{0: 'a', 2: 'c'}", ("a", "class_1", "c")),
        ("{1: 'b'}", ("class_0", "b")),
        ("{0: '', 1: '  ', 2: None}", ("class_0", "class_1", "class_2")),
        ("{0: 'a', 1: 'a'}", ("a", "a")),
        ("{'0': 'a', '3': 'd', '2': 'c'}", ("a", "class_1", "c", "d")),
        ("['a', 'b']", ("a", "b")),
        ("('a', 'b')", ("a", "b")),
        ('["a", "b"]', ("a", "b")),
        ('{"0": "a", "1": null}', ("a", "class_1")),
        ("{0: 7, 1: '8'}", ("7", "8")),
        ("{0: 'a, b', 1: 'it\\'s', 2: '\"'}", ("a, b", "it's", '"')),
        ("{0: 'Straße', 1: '猫', 2: '\\ud800'}", ("Straße", "猫", "\ufffd")),
        ("{0: 'back\\slash'}", ("back\\slash",)),
    ],
)  # fmt: skip
def test_names_are_read_in_every_form(text: str, names: tuple[str, ...]) -> None:
    metadata = parse({"names": text})
    assert metadata.names == names
    assert not metadata.notes


@given(st.lists(NAMES, min_size=1, max_size=30))
def test_names_come_back_as_python_or_json_prints_them(names: list[str]) -> None:
    expected = tuple(name if name.strip() else f"class_{i}" for i, name in enumerate(names))
    for text in (
        str(names),
        str(dict(enumerate(names))),
        json.dumps(names),
        json.dumps({str(i): name for i, name in enumerate(names)}),
    ):
        assert parse({"names": text}).names == expected


@given(st.text(max_size=60))
def test_no_text_is_a_crash(text: str) -> None:
    keys = ("task", "names", "imgsz", "stride", "batch", "channels", "kpt_shape", "args", "end2end")
    metadata = parse(dict.fromkeys(keys, text))
    assert all(isinstance(note, str) for note in metadata.notes)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("task", "semantic"),
        ("names", "cat, dog"),
        ("names", "{'cat': 0}"),
        ("names", "{-1: 'a'}"),
        ("names", f"{{{MAX_CLASSES}: 'a'}}"),
        ("names", "{0: ['a']}"),
        ("names", "__import__('os').getcwd()"),
        ("names", "(" * 10_000),
        ("imgsz", "640x640"),
        ("imgsz", "[640, 640, 3]"),
        ("imgsz", "[0, 640]"),
        ("imgsz", "[640.5, 640]"),
        ("imgsz", "1e999"),
        ("imgsz", "[1000000, 640]"),
        ("stride", "[8, 'a']"),
        ("batch", "-1"),
        ("channels", "True"),
        ("kpt_shape", "[17, 4]"),
        ("kpt_shape", "[0, 3]"),
        ("kpt_shape", "17"),
        ("args", "[1]"),
        ("end2end", "maybe"),
    ],
)
def test_a_broken_value_is_left_out_with_a_note_that_names_it(key: str, text: str) -> None:
    metadata = parse({key: text})
    assert [note for note in metadata.notes if f"metadata {key}=" in note] == list(metadata.notes)
    assert len(metadata.notes) == 1
    assert metadata == Metadata(notes=metadata.notes)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("640", (640, 640)),
        ("[640]", (640, 640)),
        ("(480, 640)", (480, 640)),
        ("[64.0, 32.0]", (64, 32)),
    ],
)
def test_a_size_has_several_forms(text: str, size: tuple[int, int]) -> None:
    assert parse({"imgsz": text}).imgsz == size


def test_the_greatest_of_several_strides_counts() -> None:
    assert parse({"stride": "[8, 16, 64]"}).stride == 64
    assert parse({"stride": "32.0"}).stride == 32


@pytest.mark.parametrize("text", ["True", "true", "1"])
def test_a_flag_has_several_forms(text: str) -> None:
    assert parse({"end2end": text}).end2end is True
