"""`sluice submit` on the live stack: the command and the api are killed in the middle."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from sluice.client import Client
from tests.support import videos
from tests.support.live import Live
from tests.support.paths import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.integration


def _command(live: Live, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "sluice", *arguments, "--url", live.api],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _run(live: Live, *arguments: str) -> "subprocess.CompletedProcess[str]":
    with _command(live, *arguments) as process:
        out, err = process.communicate(timeout=120)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    image = (ROOT / "samples" / "desk.jpg").read_bytes()
    for number in range(80):
        (folder / f"{number:02}.jpg").write_bytes(image + bytes([number]))
    return folder


def _lines(out: Path) -> int:
    path = out / "results.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def test_each_image_is_submitted_once_although_command_and_api_are_killed(
    live: Live, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = _count(live)
    arguments = ("submit", str(photos), "--out", str(out), "--concurrency", "4")
    first = _command(live, *arguments)
    until(lambda: _lines(out) >= 10)
    os.kill(live.pids()["api"], signal.SIGKILL)
    until(lambda: _lines(out) >= 25, 60)
    first.kill()
    first.communicate()
    done = _run(live, *arguments, "--format", "coco", "--format", "yolo")
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert Counter(result["prediction"]["status"] for result in results) == {"succeeded": 80}
    assert len({result["input"] for result in results}) == 80
    assert _count(live) - before == 80
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 80
    assert len(list((out / "labels").rglob("[0-9]*.txt"))) == 80


def _count(live: Live) -> int:
    with Client(live.api) as client:
        return len(list(client.predictions()))


def test_a_bad_image_is_listed_and_the_status_is_1(live: Live, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no image")
    done = _run(live, "submit", str(bad), str(ROOT / "samples" / "desk.jpg"))
    assert done.returncode == 1
    assert "1 of 2 images failed" in done.stderr
    assert str(bad) in done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(line["error_code"] or "" for line in lines) == ["", "not_an_image"]


def test_a_video_gives_its_frames_and_an_annotated_video(live: Live, tmp_path: Path) -> None:
    video, out = videos.write(tmp_path / "clip.mp4", 12), tmp_path / "out"
    arguments = ("submit", str(video), "--every", "5", "--out", str(out), "--annotate")
    for _ in range(2):  # the second run finds all frames done
        done = _run(live, *arguments, "--format", "csv")
        assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    places = sorted((line["frame"], line["time_s"]) for line in lines)
    assert places == [(0, 0), (5, 0.2), (10, 0.4)]
    assert all(line["prediction"]["metadata"]["frame"] == line["frame"] for line in lines)
    (annotated,) = (out / "annotated").rglob("clip.mp4")
    fps, shown = videos.shown(annotated)
    assert (fps, len(shown), shown[0].shape) == (25.0, 12, (48, 64, 3))


def test_a_broken_video_is_listed_and_the_images_are_submitted(live: Live, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    done = _run(live, "submit", str(bad), str(ROOT / "samples" / "desk.jpg"))
    assert done.returncode == 1
    assert "1 of 2 images failed" in done.stderr
    assert "can't be opened as a video" in done.stderr
    assert "moov" not in done.stderr  # the decoder's own messages


def test_ctrl_c_ends_the_command_at_once(live: Live, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = _command(live, "submit", str(photos), "--out", str(out), "--concurrency", "1")
    until(lambda: _lines(out) >= 1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "goes on where this one was" in err


def test_a_prediction_is_read_listed_and_canceled(live: Live) -> None:
    with Client(live.api) as client:
        prediction = client.submit(ROOT / "samples" / "desk.jpg")
    got = _run(live, "get", prediction.id, "--wait", "30")
    assert (got.returncode, json.loads(got.stdout)["status"]) == (0, "succeeded")
    listed = json.loads(_run(live, "list", "--json", "--limit", "5").stdout)
    assert prediction.id in [entry["id"] for entry in listed]
    assert prediction.id in _run(live, "list").stdout
    canceled = _run(live, "cancel", prediction.id)
    assert canceled.returncode == 1
    assert "succeeded" in canceled.stderr
    assert json.loads(_run(live, "queue", "--json").stdout)["workers"] >= 1


def test_a_service_that_is_not_there_is_told(live: Live) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "sluice", "queue", "--url", "http://127.0.0.1:9"],
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        _, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "did not answer" in err
