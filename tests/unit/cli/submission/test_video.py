"""Videos and folders of frames, as items of `sluice submit`."""

import json
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest

from sluice.cli.submission import clips
from sluice.cli.submission.frames import FrameFolder
from sluice.cli.submission.item import Clip, Item, Sampling, relative
from sluice.cli.submission.items import Folders, items
from sluice.cli.submission.run import Run, submitted
from sluice.cli.submission.video import Video, write_video
from sluice.client import Client
from tests.support import videos
from tests.support.answers import BOX, output, prediction

OPTIONS: Any = {"visualize": True}
ALL = Sampling()


def _video(path: Path) -> Video:
    return Video(path.name, path)


def _chosen(clip: Clip, sampling: Sampling = ALL) -> list[tuple[int | None, float | None]]:
    return [(item.frame, item.time_s) for item in clip.items(sampling, set())]


def _problem(path: Path) -> str | None:
    *_, last = _video(path).items(ALL, set())
    return last.problem


def _value(image: Any) -> int:
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    return round(float(np.asarray(picture).mean()))


@pytest.mark.parametrize(
    ("sampling", "frames"),
    [
        (ALL, list(range(30))),
        (Sampling(every=7), [0, 7, 14, 21, 28]),
        (Sampling(fps=5), [0, 5, 10, 15, 20, 25]),
        (Sampling(fps=100), list(range(30))),
    ],
)
def test_frames_are_chosen_by_number_or_by_time(
    tmp_path: Path, sampling: Sampling, frames: list[int]
) -> None:
    video = _video(videos.write(tmp_path / "a.mp4", 30))
    assert _chosen(video, sampling) == [(frame, frame / 25) for frame in frames]
    assert video.count(sampling) == len(frames)


def test_each_frame_is_the_picture_of_its_number(tmp_path: Path) -> None:
    found = list(_video(videos.write(tmp_path / "a.mp4", 10)).items(Sampling(3), set()))
    assert [item.name for item in found] == [f"a.mp4#frame={number}" for number in (0, 3, 6, 9)]
    values = [_value(item.image) for item in found]
    assert np.allclose(values, [10, 34, 58, 82], atol=3)
    assert found[1].options == {"metadata": {"clip": "a.mp4", "frame": 3, "time_s": 0.12}}


def test_frames_are_the_same_bytes_when_a_run_goes_on(tmp_path: Path) -> None:
    video = _video(videos.write(tmp_path / "a.mp4", 10))
    whole = {item.name: item.image for item in video.items(ALL, set())}
    rest = {item.name: item.image for item in video.items(ALL, {"a.mp4#frame=0", "a.mp4#frame=4"})}
    assert rest.keys() == whole.keys() - {"a.mp4#frame=0", "a.mp4#frame=4"}
    assert all(whole[name] == image for name, image in rest.items())


def test_times_are_those_of_the_file_where_the_rate_varies(tmp_path: Path) -> None:
    video = _video(videos.write_at(tmp_path / "a.mkv", [0, 40, 400, 440, 1500, 2000]))
    assert _chosen(video) == [(0, 0), (1, 0.04), (2, 0.4), (3, 0.44), (4, 1.5), (5, 2.0)]
    assert _chosen(video, Sampling(fps=2)) == [(0, 0), (4, 1.5), (5, 2.0)]


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = videos.rotate(videos.write(tmp_path / "a.mp4", 2, size=(64, 48)))
    image: Any = next(_video(path).items(ALL, set())).image
    picture = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    assert np.asarray(picture).shape == (64, 48, 3)


@pytest.mark.parametrize(
    ("content", "problem"),
    [(b"", "is empty"), (b"no video" * 99, "can't be opened"), (None, "can't be opened")],
    ids=["empty", "garbage", "without an index"],
)
def test_a_file_that_is_no_video_is_one_item_with_the_reason(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = videos.write(tmp_path / "a.mp4", 9)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content is None else content)
    (item,) = _video(path).items(ALL, set())
    assert (item.name, item.frame) == ("a.mp4", None)
    assert problem in (item.problem or "")
    assert _video(path).count(ALL) == 1


def test_a_video_with_a_broken_tail_gives_its_frames_and_then_the_reason(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "a.avi", 100, code="MJPG")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    found = list(_video(path).items(ALL, set()))
    assert 30 < len(found) < 70
    assert [item.problem is None for item in found[:-1]] == [True] * (len(found) - 1)
    assert "says that it has 4.0 s" in (found[-1].problem or "")


def test_a_video_without_a_frame_that_decodes_names_its_codec(tmp_path: Path) -> None:
    path = videos.write(tmp_path / "a.mkv", 9, code="VP80")
    data = path.read_bytes()
    assert b"V_VP8" in data
    path.write_bytes(data.replace(b"V_VP8", b"V_XYZ"))
    assert "codec" in (_problem(path) or "")


def test_a_folder_of_frames_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    for number in (1, 2, 10):
        (tmp_path / f"frame{number}.jpg").write_bytes(b"image")
    (clip,) = items([str(tmp_path)], [], Folders(are_clips=True, rate=2.0))
    assert isinstance(clip, FrameFolder)
    assert [path.name for path in clip.files] == ["frame1.jpg", "frame2.jpg", "frame10.jpg"]
    assert _chosen(clip) == [(0, 0.0), (1, 0.5), (2, 1.0)]
    assert _chosen(clip, Sampling(2)) == [(0, 0.0), (2, 1.0)]


def test_the_frames_of_a_video_have_a_folder_of_their_own() -> None:
    assert str(relative("a/clip.mp4#frame=7")) == "a/clip.mp4.frames/000007.jpg"


def test_an_annotated_video_has_rate_size_and_length_of_its_source(tmp_path: Path) -> None:
    source = videos.write(tmp_path / "a.mp4", 30, size=(65, 49))
    drawn = videos.pictures(3, (65, 49))
    frames = []
    for number, picture in zip((0, 10, 20), drawn, strict=True):
        path = tmp_path / f"{number}.jpg"
        cv2.imwrite(str(path), picture)
        frames.append((number / 25, path))
    write_video(tmp_path / "out" / "a.mp4", frames, *_timing(source))
    fps, shown = videos.shown(tmp_path / "out" / "a.mp4")
    assert (fps, len(shown), shown[0].shape) == (25.0, 30, (48, 64, 3))
    means = [float(picture.mean()) for picture in shown]
    assert np.allclose(means, [10] * 10 + [18] * 10 + [26] * 10, atol=3)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.mp4"]


def _timing(path: Path) -> tuple[float, float]:
    timing = _video(path).timing()
    assert timing is not None
    assert timing[1] is not None
    return timing[0], timing[1]


def test_a_run_over_a_video_keeps_the_place_of_each_frame_and_goes_on(tmp_path: Path) -> None:
    sent: list[bytes] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/image"):
            return httpx.Response(200, content=sent[0])
        sent.append(request.content)
        return httpx.Response(201, json=prediction(status="succeeded", output=output(BOX)))

    sources: list[Item | Clip] = [_video(videos.write(tmp_path / "a.mp4", 10))]
    folder = tmp_path / "out"
    with Client("http://x", retry_for_s=0, transport=httpx.MockTransport(answer)) as client:
        for sampling, count in ((Sampling(4), 3), (Sampling(2), 5)):
            run = Run(folder, OPTIONS)
            left = clips.left(sources, sampling, run.done)
            list(run.keep(submitted(client, run, left, OPTIONS, 2, annotate=True)))
            assert len(sent) == count
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert sorted((line["frame"], line["time_s"]) for line in lines) == [
        (number, number / 25) for number in (0, 2, 4, 6, 8)
    ]
    (source,) = sources
    assert not isinstance(source, Item)
    path = clips.write_annotated(source, run, folder)
    assert path == folder / "annotated" / "a.mp4"
    assert len(videos.shown(path)[1]) == 10
