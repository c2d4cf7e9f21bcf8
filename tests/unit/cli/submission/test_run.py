"""A run that is interrupted goes on where it was."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from sluice.cli.submission import formats
from sluice.cli.submission.formats import Format
from sluice.cli.submission.item import Item
from sluice.cli.submission.run import Result, Run, RunError, submitted
from sluice.client import Client, ServiceError
from tests.support.answers import BOX, output, prediction

OPTIONS: Any = {"model": "codes"}


@contextmanager
def _client(answer: Callable[[httpx.Request], httpx.Response]) -> Iterator[Client]:
    with Client("http://x", retry_for_s=0, transport=httpx.MockTransport(answer)) as client:
        yield client


def _items(folder: Path, count: int) -> list[Item]:
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(str(number).encode())
    return [Item(f"{number}.jpg", folder / f"{number}.jpg") for number in range(count)]


def _succeeds(request: httpx.Request) -> httpx.Response:
    raw = prediction(id=request.content.decode(), status="succeeded", output=output(BOX))
    return httpx.Response(201, json=raw)


def test_a_run_writes_a_line_for_each_image(tmp_path: Path) -> None:
    run = Run(tmp_path / "out", OPTIONS)
    with _client(_succeeds) as client:
        kept = list(run.keep(submitted(client, run, _items(tmp_path, 5), OPTIONS, 2)))
    lines = (tmp_path / "out" / "results.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)["input"] for line in lines) == [f"{n}.jpg" for n in range(5)]
    assert all(result.succeeded for result in kept)


def test_a_run_goes_on_with_the_same_keys_and_what_is_left(tmp_path: Path) -> None:
    keys: dict[str, list[str]] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        keys.setdefault(request.content.decode(), []).append(request.headers["Idempotency-Key"])
        return _succeeds(request)

    items, folder = _items(tmp_path, 4), tmp_path / "out"
    run = Run(folder, OPTIONS)
    with _client(answer) as client:
        list(run.keep(submitted(client, run, items[:2], OPTIONS, 1)))
        # A kill in the middle of a line, and one after a submission whose result was not written.
        with (folder / "results.jsonl").open("a") as file:
            file.write('{"input": "2.jpg", "pre')
        list(submitted(client, run, items[2:3], OPTIONS, 1))
        again = Run(folder, OPTIONS)
        assert again.done == {"0.jpg", "1.jpg"}
        left = [item for item in items if item.name not in again.done]
        list(again.keep(submitted(client, again, left, OPTIONS, 1)))
    assert [len(sent) for sent in keys.values()] == [1, 1, 2, 1]
    assert len(set(keys["2"])) == 1
    assert len({sent[0] for sent in keys.values()}) == 4
    assert {result.input for result in again.results()} == {item.name for item in items}


def test_a_folder_of_a_run_with_other_options_is_refused(tmp_path: Path) -> None:
    Run(tmp_path, OPTIONS)
    with pytest.raises(RunError, match="other options"):
        Run(tmp_path, {"model": "other"})


def test_a_refused_image_is_a_result_and_the_others_go_on(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.content == b"1":
            return httpx.Response(415, json={"detail": "no image", "code": "not_an_image"})
        return _succeeds(request)

    run = Run(None, OPTIONS)
    items = [*_items(tmp_path, 3), Item("gone.jpg", tmp_path / "gone.jpg")]
    with _client(answer) as client:
        results = {result.input: result for result in submitted(client, run, items, OPTIONS, 2)}
    assert [results[item.name].succeeded for item in items] == [True, False, True, False]
    assert results["1.jpg"].error_code == "not_an_image"
    assert results["gone.jpg"].error_code == "input"


@pytest.mark.parametrize("status", [401, 403, 503])
def test_what_would_meet_every_image_ends_the_run(tmp_path: Path, status: int) -> None:
    problem = {"detail": "no", "code": "x"}
    run = Run(None, OPTIONS)
    with (
        _client(lambda _: httpx.Response(status, json=problem)) as client,
        pytest.raises(ServiceError),
    ):
        list(submitted(client, run, _items(tmp_path, 3), OPTIONS, 1))


def test_annotated_images_lie_there_before_the_result(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/image"):
            return httpx.Response(200, content=b"drawn")
        return _succeeds(request)

    run = Run(tmp_path / "out", OPTIONS)
    with _client(answer) as client:
        for _ in submitted(client, run, _items(tmp_path, 1), OPTIONS, 1, annotate=True):
            assert (tmp_path / "out" / "annotated" / "0.jpg").read_bytes() == b"drawn"


def _results() -> Iterator[Result]:
    for name in ("a/x.jpg", "a/x.png", "b.jpg"):
        raw = prediction(status="succeeded", output=output(BOX))
        yield Result(name, raw, None, None)
    yield Result("bad.jpg", None, "no image", "not_an_image")


def test_the_formats_hold_what_succeeded(tmp_path: Path) -> None:
    table = formats.write(Format.CSV, tmp_path, _results()).read_text().splitlines()
    assert table[0] == "input,class,class_id,confidence,x,y,width,height,clip,frame,time_s"
    assert table[1] == "a/x.jpg,qr,1,0.9,50.0,20.0,20.0,10.0,,,"
    assert len(table) == 4
    document = json.loads(formats.write(Format.COCO, tmp_path, _results()).read_text())
    assert [image["file_name"] for image in document["images"]] == ["a/x.jpg", "a/x.png", "b.jpg"]
    labels = formats.write(Format.YOLO, tmp_path, _results())
    found = sorted(str(path.relative_to(labels)) for path in labels.rglob("*.txt"))
    assert found == ["a/x.png.txt", "a/x.txt", "b.txt", "classes.txt"]
    assert (labels / "classes.txt").read_text() == "0\nqr\n"
