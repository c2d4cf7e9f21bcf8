"""Bills of materials in CycloneDX 1.6: one for each container image, and one for the wheel.

An image's bill lists the pinned packages of its constraints file, with their hashes. Packages of
the base image's operating system are not in it. The wheel's bill lists the packages of the
environment in which the wheel was tried, with their licences and dependencies.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement

from sluice import __version__
from tools.release.build import ROOT, environment

IMAGES = ("api", "worker", "cli")
_PYTHON = "3.13"  # of the images; see the Dockerfile
_LINUX = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": f"{_PYTHON}.0",
    "python_version": _PYTHON,
    "sys_platform": "linux",
}
_TOOL = [sys.executable, "-m", "cyclonedx_py"]
_OPTIONS = ["--spec-version", "1.6", "--output-reproducible", "--output-format", "JSON"]


def requirements(image: str) -> str:
    """The lines of an image's constraints file that hold on Linux with the image's Python."""
    text = (ROOT / "constraints" / f"{image}.txt").read_text().replace("\\\n", " ")
    kept = []
    for line in filter(None, map(str.strip, text.splitlines())):
        marker = Requirement(re.split(r"\s--hash", line)[0]).marker
        if marker is None or marker.evaluate(_LINUX):
            kept.append(line)
    return "\n".join(kept)


def of_image(image: str, out: Path) -> Path:
    """Write the bill of an image into the folder `out`; the tool validates it.

    Raises CalledProcessError.
    """
    done = subprocess.run(
        [*_TOOL, "requirements", "-", *_OPTIONS],
        input=requirements(image),
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return _write(done.stdout, f"sluice-{image}", "container", out)


def of_environment(python: Path, out: Path) -> Path:
    """Write the bill of an environment with the wheel into `out`. Raises CalledProcessError."""
    done = subprocess.run(
        [*_TOOL, "environment", str(python), *_OPTIONS],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
    )
    return _write(done.stdout, "sluice", "library", out)


def _write(text: str, name: str, kind: str, out: Path) -> Path:
    bill = json.loads(text)
    bill["metadata"]["component"] = {
        "bom-ref": name,
        "type": kind,
        "name": name,
        "version": __version__,
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    # The wheel itself is the subject, and no part of it.
    bill["components"] = [part for part in bill["components"] if part["name"] != name]
    path = out / f"{name}-{__version__}.cdx.json"
    path.write_text(json.dumps(bill, indent=1) + "\n")
    return path
