"""The guard: today's figures beside the committed ones, and what fell by more than its noise.

`python -m benchmarks.guard --record` measures, and writes the figures to be committed. With
`--samples FILE` the figures are those of an earlier run of the table.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.speed.run import Plan, run
from benchmarks.speed.table import ROWS, Row, Spread, spreads

FILE = Path(__file__).with_name("guard.json")
GROUPS = ("memory", "ort", "codes", "queued")
ROUNDS = 2


@dataclass(frozen=True)
class Known:
    """A committed figure."""

    value: float
    noise: float
    """A difference up to this one means nothing."""

    @classmethod
    def of(cls, row: Row, spread: Spread) -> "Known":
        """The noise is the whole spread of the rounds, and at least the row's share of the figure.

        Rounds that agree by chance thus do not make the guard strict.
        """
        noise = max(spread.high - spread.low, row.guarded * abs(spread.median))
        return cls(round(spread.median, 4), round(noise, 4))


@dataclass(frozen=True)
class Comparison:
    """A row's figure of today beside the committed one."""

    row: Row
    today: float
    known: Known | None
    """None: the row is new."""

    @property
    def loss(self) -> float:
        """The change for the worse; negative for a gain."""
        if self.known is None:
            return 0.0
        change = self.today - self.known.value
        return -change if self.row.rises else change

    @property
    def fell(self) -> bool:
        return self.known is not None and self.loss > self.known.noise

    @property
    def rose(self) -> bool:
        return self.known is not None and -self.loss > self.known.noise


def compare(
    today: Mapping[str, Spread], known: Mapping[str, Known], rows: Sequence[Row]
) -> list[Comparison]:
    """Each guarded row that was measured."""
    return [
        Comparison(row, today[row.key].median, known.get(row.key))
        for row in rows
        if row.guarded and row.key in today
    ]


def printed(comparisons: Sequence[Comparison]) -> str:
    """The comparison as Markdown, and a sentence for each row that fell."""
    lines = ["| row | today | committed | noise | |", "| --- | --- | --- | --- | --- |"]
    for found in comparisons:
        digits, known = found.row.digits, found.known
        numbers = [f"{found.today:,.{digits}f}"]
        numbers += (
            [f"{known.value:,.{digits}f}", f"{known.noise:,.{digits}f}"] if known else ["", ""]
        )
        verdict = "FELL" if found.fell else "better" if found.rose else "" if known else "new"
        lines.append("| " + " | ".join((found.row.title, *numbers, verdict)) + " |")
    fallen = [found for found in comparisons if found.fell]
    lines += ["", "Nothing fell by more than its noise." if not fallen else "Fell:"]
    for found in fallen:
        assert found.known
        share = abs(found.loss) / abs(found.known.value) if found.known.value else 0.0
        lines.append(f"- {found.row.title}: worse by {share:.0%}")
    return "\n".join(lines)


def read(file: Path) -> dict[str, Known]:
    """The committed figures; none without the file."""
    if not file.exists():
        return {}
    return {key: Known(**value) for key, value in json.loads(file.read_text()).items()}


def write(spread: Mapping[str, Spread], file: Path) -> None:
    """Write the figures of the guarded rows."""
    known = {
        row.key: asdict(Known.of(row, spread[row.key]))
        for row in ROWS
        if row.guarded and row.key in spread
    }
    file.write_text(json.dumps(known, indent=1) + "\n")


def main(arguments: Sequence[str] = ()) -> None:
    """Measure, print, and exit with 1 if a row fell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard", description=__doc__)
    parser.add_argument("--record", action="store_true", help="write the figures of this run")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--samples",
        type=Path,
        metavar="FILE",
        help="take what `python -m benchmarks.speed --json FILE` wrote, and measure nothing",
    )
    given = parser.parse_args(list(arguments))
    if given.samples:
        rounds = json.loads(given.samples.read_text())["this"]
    else:
        rounds = run(Plan(rounds=given.rounds, rows=GROUPS))["this"]
    today = spreads(rounds, ROWS)
    print(printed(comparisons := compare(today, read(FILE), ROWS)))
    if given.record:
        write(today, FILE)
    elif any(found.fell for found in comparisons):
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
