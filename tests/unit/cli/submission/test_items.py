"""The images that `sluice submit` finds."""

from pathlib import Path

import pytest

from sluice.cli.submission.item import InputError, relative
from sluice.cli.submission.items import items


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("photos/b.jpg", "photos/a.PNG", "photos/deep/c.tif", "photos/notes.txt", "x.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"image")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(*inputs: str) -> list[str]:
    return [item.name for item in items(inputs, [])]


@pytest.mark.usefixtures("folder")
def test_a_folder_gives_its_images_by_name_and_no_other_files() -> None:
    assert _names("photos") == ["photos/a.PNG", "photos/b.jpg", "photos/deep/c.tif"]


@pytest.mark.usefixtures("folder")
def test_files_patterns_and_urls_come_in_order_and_once() -> None:
    assert _names("x.jpg", "photos/*.jpg", "https://example.com/a", "photos/**/*.tif", "x.jpg") == [
        "x.jpg",
        "photos/b.jpg",
        "https://example.com/a",
        "photos/deep/c.tif",
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("text", ["none.jpg", "photos/*.bmp"])
def test_an_input_without_a_file_is_an_error(text: str) -> None:
    with pytest.raises(InputError, match="no such file"):
        _names(text)


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image and no video"):
        _names(str(tmp_path))


def test_a_manifest_has_paths_from_its_own_folder_urls_and_options(folder: Path) -> None:
    manifest = folder / "photos" / "list.txt"
    manifest.write_text(
        "# the first shelf\n\nb.jpg\nhttps://example.com/a.jpg\n"
        '{"image": "a.PNG", "metadata": {"shelf": 7}, "priority": "low"}\n'
    )
    found = list(items([], [manifest]))
    assert [item.image for item in found] == [
        folder / "photos" / "b.jpg",
        "https://example.com/a.jpg",
        folder / "photos" / "a.PNG",
    ]
    assert found[2].options == {"metadata": {"shelf": 7}, "priority": "low"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("none.jpg", "line 1: no such file"),
        ('{"metadata": {}}', "line 1: write"),
        ('{"image": "b.jpg", "shelf": 7}', "shelf is unknown"),
        ("{", "line 1: write"),
    ],
)
def test_a_wrong_line_of_a_manifest_is_named(folder: Path, line: str, message: str) -> None:
    manifest = folder / "photos" / "list.txt"
    manifest.write_text(line)
    with pytest.raises(InputError, match=message):
        list(items([], [manifest]))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("photos/a.jpg", "photos/a.jpg"),
        ("/photos/a.jpg", "photos/a.jpg"),
        ("../a.jpg", "a.jpg"),
        ("https://example.com:80/a.jpg?b=1", "https/example.com_80/a.jpg_b=1"),
    ],
)
def test_a_name_becomes_a_path_below_a_folder(name: str, path: str) -> None:
    assert str(relative(name)) == path
