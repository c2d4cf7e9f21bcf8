"""Ten bugs, each planted into a copy of the checkout, where the harness must find it.

    python -m tests.chaos.bugs [NAME ...]     plants one after another
    python -m tests.chaos.bugs --control      the same faults on an unharmed copy

The exit status is 1 when a bug was not found, or when the unharmed copy had a breach.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "sluice",
    "api",
    "worker",
    "model_repository",
    "tests/__init__.py",
    "tests/support",
    "tests/chaos",
)
TIMEOUT_S = 420.0
HUNG = -1
"""The exit status of a harness that was killed after TIMEOUT_S."""


@dataclass(frozen=True)
class Edit:
    """A change of one file."""

    file: str
    old: str
    """A text that occurs exactly once in the file."""
    new: str


@dataclass(frozen=True)
class Bug:
    """A planted bug, and the run that must find it."""

    name: str
    says: str
    """The bug and its effect, in a sentence."""
    edits: Sequence[Edit]
    kinds: frozenset[str]
    """Kinds of breaches; the checker must report one of them."""
    only: Sequence[str]
    """The faults that bring the bug out."""
    seconds: float = 25.0
    every_s: float = 3.0


BUGS = [
    Bug(
        "keeper-asleep",
        "the sweep finds no lapsed lease: the predictions of a killed worker stay processing",
        [
            Edit(
                "sluice/ledger/lua/sweep.lua",
                "ipairs(due_in(leases_key, AT_A_TIME))",
                "ipairs({})",
            )
        ],
        frozenset({"stuck"}),
        ["ambush:worker", "ambush:workers"],
    ),
    Bug(
        "retry-in-milliseconds",
        "a delay in seconds is taken for another unit: a retry after an outage waits for hours",
        [
            Edit(
                "sluice/ledger/lua/requeue.lua",
                "enqueue_again(prediction_id, record, now + delay_s)",
                "enqueue_again(prediction_id, record, now + 1000 * delay_s)",
            )
        ],
        frozenset({"stuck"}),
        ["kill:triton", "freeze:triton", "hole:worker-triton"],
        every_s=4.0,
    ),
    Bug(
        "redis-forgets",
        "Redis keeps nothing on disk: a restart forgets accepted predictions",
        [Edit("sluice/local/servers/redis.py", '"appendonly": "yes"', '"appendonly": "no"')],
        frozenset({"lost"}),
        ["kill:redis"],
        every_s=8.0,
    ),
    Bug(
        "retry-overwrites",
        "a known id is recorded again: two submissions under one id both start the prediction",
        [
            Edit(
                "sluice/ledger/lua/create.lua",
                "> 0 then return 'taken' end",
                "> 9 then return 'taken' end",
            )
        ],
        frozenset({"recreated", "changed", "revived"}),
        ["stall:front", "stall:api-redis", "cut:front"],
    ),
    Bug(
        "payload-unchecked",
        "another payload under a known id is answered with the prediction of the first",
        [
            Edit(
                "sluice/intake/intake.py", "if prediction.digest != submission_digest:", "if False:"
            ),
            Edit("sluice/ledger/predictions.py", "if prediction.digest != digest:", "if False:"),
        ],
        frozenset({"mixed_up"}),
        ["stall:front", "kill:api"],
        seconds=15.0,
    ),
    Bug(
        "image-removed-early",
        "the image is removed when it is read, not at the recorded end: a second attempt has none",
        [
            Edit(
                "worker/pipeline.py",
                "data = self.blobs.get(input_key(prediction.id, prediction.digest))\n",
                "data = self.blobs.get(input_key(prediction.id, prediction.digest))\n"
                "        self.blobs.delete(input_key(prediction.id, prediction.digest))\n",
            )
        ],
        frozenset({"failed"}),
        ["ambush:worker", "ambush:workers", "kill:triton"],
    ),
    Bug(
        "stale-owner-wins",
        "every attempt may write the end, also a canceled one or one that lost its lease",
        [
            Edit(
                "sluice/ledger/lua/finish.lua",
                "if not owned(record, owner) then return 0 end\n",
                "record.status = 'processing'\n",
            )
        ],
        frozenset({"uncanceled", "changed"}),
        ["freeze:worker", "freeze:workers", "freeze:triton"],
    ),
    Bug(
        "no-timeouts",
        "calls to Redis have no time-out: a silent connection holds its thread for ever",
        [
            Edit(
                "sluice/redisio/connection.py",
                "        socket_timeout=address.timeout_s,\n        health_check",
                "        socket_timeout=None,\n        health_check",
            ),
            Edit(
                "sluice/redisio/multiplexed.py",
                "_Connection(connection, self._timeout_s)",
                "_Connection(connection, 1e6)",
            ),
            Edit(
                "sluice/redisio/connection.py",
                '"socket_timeout": address.timeout_s,',
                '"socket_timeout": None,',
            ),
        ],
        frozenset({"stuck", "unanswered"}),
        ["hole:worker-redis", "hole:api-redis"],
    ),
    Bug(
        "timeout-ignored",
        "a timed-out inference counts as done: the region holds the previous picture's result",
        [
            Edit(
                "sluice/vision/triton/slots.py",
                "        except RegionLost:  #",
                "        except DeadlineExceeded:\n            answer = None\n"
                "        except RegionLost:  #",
            ),
            Edit(
                "sluice/vision/triton/slots.py",
                "from sluice.models import",
                "from sluice.errors import DeadlineExceeded\nfrom sluice.models import",
            ),
        ],
        frozenset({"wrong"}),
        ["freeze:triton", "stall:worker-triton"],
        every_s=4.0,
    ),
    Bug(
        "records-for-ever",
        "ended predictions get no time to live: Redis fills up",
        [
            Edit(
                "sluice/ledger/lua/include/finish.lua",
                "  redis.call('EXPIRE', key, retention_s)\n",
                "",
            )
        ],
        frozenset({"left_over"}),
        ["kill:worker"],
        seconds=10.0,
    ),
]


def plant(bug: Bug, checkout: Path) -> None:
    """Edit the checkout. Raises ValueError where an edit does not fit the code any more."""
    for edit in bug.edits:
        path = checkout / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise ValueError(
                f"{bug.name}: {edit.old!r} occurs {text.count(edit.old)} times in {edit.file}"
            )
        path.write_text(text.replace(edit.old, edit.new))


def copy(target: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)


def run(bug: Bug, seed: int, workdir: Path, *, planted: bool = True) -> tuple[int, Counter[str]]:
    """The harness's exit status, and its breaches by kind."""
    checkout = workdir / "checkout"
    copy(checkout)
    if planted:
        plant(bug, checkout)
    command = [
        sys.executable,
        "-m",
        "tests.chaos",
        "--seed",
        str(seed),
        "--workdir",
        str(workdir / "run"),
    ]
    command += [
        "--seconds",
        str(bug.seconds),
        "--every",
        str(bug.every_s),
        "--bound",
        "40",
        "--only",
        *bug.only,
    ]
    with (workdir / "output").open("w") as output:
        try:
            status = subprocess.run(
                command, cwd=checkout, stdout=output, stderr=output, timeout=TIMEOUT_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:  # the stack's reaper ends the harness's processes
            status = HUNG
    report = workdir / "run" / "report.json"
    breaches = json.loads(report.read_text())["breaches"] if report.exists() else []
    return status, Counter(breach["kind"] for breach in breaches)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.bugs", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="; ".join(f"{bug.name}: {bug.says}" for bug in BUGS),
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workdir", type=Path, help="for the copies and their runs (a new one)")
    parser.add_argument("--control", action="store_true", help="plant nothing")
    arguments = parser.parse_args()
    base = arguments.workdir or Path(tempfile.mkdtemp(prefix="sluice-bugs-"))
    good = True
    for bug in BUGS:
        if arguments.names and bug.name not in arguments.names:
            continue
        workdir = base / bug.name
        shutil.rmtree(workdir, ignore_errors=True)
        started = time.monotonic()
        status, kinds = run(bug, arguments.seed, workdir, planted=not arguments.control)
        right = status == 0 if arguments.control else status == 1 and bool(bug.kinds & set(kinds))
        good = good and right
        breaches = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "nothing"
        verdict = (
            ("unharmed" if right else "FALSE ALARM")
            if arguments.control
            else ("found" if right else "NOT FOUND")
        )
        sys.stdout.write(
            f"{bug.name:<22} {verdict:<11} in {time.monotonic() - started:4.0f} s,"
            f" exit {status}: {breaches}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"the runs are in {base}\n")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
