"""The service beside its peers: LitServe, BentoML, FastAPI with Celery, and Ray Serve.

The same model file, engine, threads, image and load for each. The peers run the graph as exported,
and the service runs what `sluice models add` makes of it. The first run installs the peers into
`.venv-peers`.
"""

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers import peer
from benchmarks.speed import measure, models, service
from benchmarks.speed.measure import Rounds, Sample
from benchmarks.speed.models import Files
from benchmarks.speed.run import tell
from benchmarks.speed.table import Row, Spread, over, plain, printed, spreads
from sluice.local.paths import CHECKOUT

OURS = "this service"
_TARGETS = "LitServe 1.15, BentoML 1.05, Celery 1.10, Ray Serve 2.2"
ROWS = (
    Row("speed", "images/s, over the bare loop", over("ort.per_s", "ort.per_s")),
    Row("ours", "ours over the peer", over("ours.per_s", "ort.per_s"), _TARGETS),
    Row("cpu", "CPU a prediction, ms", plain("ort.cpu_ms"), digits=1),
    Row("rest", "memory (PSS) at rest, MB", plain("memory.rest_mb"), digits=0),
    Row("loaded", "memory (PSS) after load, MB", plain("memory.loaded_mb"), digits=0),
)


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", default=",".join(peer.NAMES))
    parser.add_argument("--model", type=Path, help="an ONNX file; default: one of random weights")
    given = parser.parse_args(list(arguments))
    names = given.peers.split(",")
    if unknown := set(names) - set(peer.NAMES):
        parser.error(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(peer.NAMES)}")
    peer.environment().ensure(print)
    print(printed(spreads_of(_run(names, given.rounds, given.model)), ROWS))


def _run(names: Sequence[str], rounds: int, model: Path | None) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = {name: [] for name in ("bare", OURS, *names)}
    with tempfile.TemporaryDirectory(prefix="sluice-peers-") as temporary:
        files = Files.write(Path(temporary), model)
        repository = models.repository(CHECKOUT, files, Path(temporary) / "models", models.ALONE)
        for number in range(rounds):
            tell(f"round {number + 1} of {rounds}: the bare loop and the service")
            found["bare"].append(measure.bare_loops(files, ["ort"]))
            with service.running(CHECKOUT, repository) as running:
                found[OURS].append(Rounds(running, files, ["ort", "memory-ort"]).alone())
            for name in names:
                tell(f"round {number + 1} of {rounds}: {name}")
                with peer.running(name, files) as process:
                    found[name].append(process.measure(files))
    return found


def spreads_of(found: Mapping[str, list[Sample]]) -> dict[str, dict[str, Spread]]:
    """The columns of the table. `found` has the samples of all rounds by name, and the bare loop's.

    The service is compared with a peer within each round.
    """
    bare = found["bare"]
    ours = [{"ours.per_s": sample["ort.per_s"]} for sample in found[OURS]]
    columns = {}
    for name, samples in found.items():
        if name == "bare":
            continue
        speed = spreads(list(zip(samples, bare, strict=True)), ROWS)
        if name != OURS:
            joined = [own | other for own, other in zip(ours, samples, strict=True)]
            speed["ours"] = spreads(list(zip(joined, samples, strict=True)), ROWS)["ours"]
        columns[name] = speed
    return columns
