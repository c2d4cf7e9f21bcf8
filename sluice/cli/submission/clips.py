"""Images and clips together: what is left of a run, and the annotated video of a clip."""

from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path

from sluice.cli.submission.item import Clip, Item, Sampling, relative
from sluice.cli.submission.run import Run, annotated_path
from sluice.cli.submission.video import write_video


def count(sources: Sequence[Item | Clip], sampling: Sampling) -> int:
    """Return about how many items there are: files tell roughly how many frames they have."""
    return sum(
        1 if isinstance(source, Item) else max(1, source.count(sampling)) for source in sources
    )


def left(sources: Iterable[Item | Clip], sampling: Sampling, done: Set[str]) -> Iterator[Item]:
    """Yield the items that are not in `done`. A clip is decoded as its frames are taken."""
    for source in sources:
        if not isinstance(source, Item):
            yield from source.items(sampling, done)
        elif source.name not in done:
            yield source


def write_annotated(clip: Clip, run: Run, folder: Path) -> Path | None:
    """Write a clip's annotated frames as a video, at the clip's rate. Return its path.

    A frame stays until the next annotated one. None is returned where no frame is annotated, or
    the clip has no rate. Raises OSError.
    """
    frames: list[tuple[float, Path]] = []
    complete = True
    for result in run.results():
        if result.clip != clip.name:
            continue
        path = annotated_path(folder, result.input)
        if result.time_s is not None and result.succeeded and path.exists():
            frames.append((result.time_s, path))
        complete = complete and result.input != clip.name
    timing = clip.timing()
    if not frames or timing is None:
        return None
    frames.sort()
    fps, length_s = timing
    end_s = frames[-1][0] + 1 / fps
    if complete and length_s:
        end_s = max(end_s, length_s)
    target = relative(clip.name)
    name = target.name if target.suffix.lower() == ".mp4" else f"{target.name}.mp4"
    path = folder / "annotated" / target.with_name(name)
    write_video(path, frames, fps, end_s)
    return path
