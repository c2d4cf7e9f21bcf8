"""The programs on the page about clients send a file, as they stand there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.live import Live
from tests.support.paths import ROOT

pytestmark = pytest.mark.integration

PAGE = ROOT / "docs" / "guide" / "clients.md"
#: For each language that can run here: the program's file, and the command that runs it.
RUNS = {
    "sh": ("send.sh", ["sh", "send.sh"]),
    "python": ("send.py", [sys.executable, "send.py"]),
    "javascript": ("send.mjs", ["node", "send.mjs"]),
    "java": ("Detect.java", ["java", "Detect.java"]),
}
NOT_RUN = {"go", "csharp", "php"}


def programs() -> list[tuple[str, str]]:
    """The programs of the page, each with its language."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(
    ("language", "program"), [pair for pair in programs() if pair[0] not in NOT_RUN]
)
def test_a_program_of_the_page_gets_the_detections(
    live: Live, tmp_path: Path, language: str, program: str
) -> None:
    name, command = RUNS[language]
    tool = "curl" if language == "sh" else command[0]
    if not shutil.which(tool):
        pytest.skip(f"there is no {tool} here")
    (tmp_path / name).write_text(program)
    shutil.copy(ROOT / "samples" / "desk.jpg", tmp_path)
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "SLUICE_URL": live.api},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "qr_code" in done.stdout, done.stdout + done.stderr


def test_the_page_has_every_language_once_or_more() -> None:
    assert {language for language, _ in programs()} == {*RUNS, *NOT_RUN}
