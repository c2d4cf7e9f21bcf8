"""`make dist`: the files of a release in dist/, each checked.

Both packages are built twice and compared; contents and descriptions are checked. The wheel
is tried in two empty environments, which need a network connection. At last the bills of materials
are written.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.release import build, sbom, trial


def main() -> None:
    """Do all steps; the first failure ends the program with the status 1."""
    parser = argparse.ArgumentParser(prog="python -m tools.release", description=__doc__)
    parser.add_argument("--no-trial", action="store_true", help="install nothing anywhere")
    options = parser.parse_args()
    out = build.ROOT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    if build.uncommitted():
        print("warning: some files are not committed; this is no release", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="sluice-dist-") as name:
        folder = Path(name)
        files = build.build(out)
        again = build.build(folder / "again")
        for one, other in ((files.wheel, again.wheel), (files.sdist, again.sdist)):
            if one.read_bytes() != other.read_bytes():
                sys.exit(f"error: a second build of {one.name} has other bytes")
        if wrong := build.problems(files.wheel):
            sys.exit("\n".join(["error: the wheel's files are not right", *wrong]))
        check = [sys.executable, "-m", "twine", "--no-color", "check", "--strict"]
        subprocess.run([*check, str(files.wheel), str(files.sdist)], check=True)
        for image in sbom.IMAGES:
            sbom.of_image(image, out)
        if not options.no_trial:
            _try(files.wheel, folder, out)
    for path in sorted(out.iterdir()):
        print(f"{path.stat().st_size:>10,}  dist/{path.name}")


def _try(wheel: Path, folder: Path, out: Path) -> None:
    """Install the wheel alone, and with all that a stack on one machine needs."""
    trial.client_starts(trial.install(wheel, folder / "light"))
    print("the wheel alone installs, and the client starts")
    programs = trial.install(wheel, folder / "local", "local")
    trial.stack_serves(programs, folder)
    print("the wheel with the extra `local` installs, and serves an image")
    sbom.of_environment(programs / "python", out)


if __name__ == "__main__":
    main()
