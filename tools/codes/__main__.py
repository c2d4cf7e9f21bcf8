"""Command line: `python -m tools.codes all --seed 7` runs all steps; each can be run alone."""

# ruff: noqa: PLC0415 - only the steps that need torch import it

import argparse
import json
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STEPS = ("render", "train", "export", "evaluate", "samples")


def parser() -> argparse.ArgumentParser:
    """The command line's arguments."""
    out = argparse.ArgumentParser(prog="python -m tools.codes", description=__doc__)
    out.add_argument("step", choices=("all", *STEPS))
    out.add_argument(
        "--seed",
        type=int,
        default=7,
        help="seed of scenes, weights and order (default %(default)s)",
    )
    out.add_argument(
        "--work",
        type=Path,
        default=ROOT / "build" / "codes",
        help="folder for about 12 GB of scenes and weights (default build/codes)",
    )
    out.add_argument(
        "--scenes", type=int, default=20000, help="training scenes (default %(default)s)"
    )
    out.add_argument(
        "--test-scenes", type=int, default=1500, help="test scenes (default %(default)s)"
    )
    out.add_argument(
        "--split",
        choices=("check", "test"),
        default="test",
        help="split to measure on (default test)",
    )
    out.add_argument(
        "--jobs", type=int, default=2, help="rendering processes (default %(default)s)"
    )
    out.add_argument(
        "--steps", type=int, help="training steps (default: those of the shipped file)"
    )
    out.add_argument(
        "--repository",
        type=Path,
        default=ROOT / "model_repository",
        help="folder to write codes/ into",
    )
    out.add_argument(
        "--samples",
        type=Path,
        default=ROOT / "samples",
        help="folder to write the sample pictures into",
    )
    return out


def main() -> None:
    """Run the steps of the command line."""
    args = parser().parse_args()
    for step in STEPS if args.step == "all" else (args.step,):
        began = time.monotonic()
        run(step, args)
        print(f"{step}: {time.monotonic() - began:.0f} s", flush=True)


def run(step: str, args: argparse.Namespace) -> None:
    """Run one step."""
    from tools.codes.dataset import build

    weights = args.work / "run"
    args.work.mkdir(parents=True, exist_ok=True)
    (args.work / ".gitignore").write_text("*\n")
    if step == "render":
        build(args.work / "train", "train", args.scenes, args.seed, args.jobs)
        build(args.work / "test", "test", args.test_scenes, args.seed, args.jobs)
    elif step == "train":
        from tools.codes.train import Recipe, train

        recipe = Recipe(steps=args.steps) if args.steps else Recipe()
        build(args.work / "train", "train", args.scenes, args.seed, args.jobs)
        train(args.work / "train", weights, recipe, args.seed)
    elif step == "export":
        from tools.codes.export import cost, export

        path = export(weights / "weights.pt", args.repository)
        (args.work / "cost.json").write_text(json.dumps(cost() | {"bytes": path.stat().st_size}))
    elif step == "evaluate":
        from tools.codes.evaluate import evaluate, save, table

        data = build(args.work / args.split, args.split, args.test_scenes, args.seed, args.jobs)
        report = {"split": args.split} | evaluate(
            args.repository / "codes" / "1" / "model.onnx", data
        )
        cost_file = args.work / "cost.json"
        report |= json.loads(cost_file.read_text()) if cost_file.exists() else {}
        save(report, Path(__file__).with_name("report.json"))
        print(table(report))
    else:
        from tools.codes.samples import samples

        samples(args.samples)


if __name__ == "__main__":
    main()
