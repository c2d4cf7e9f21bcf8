"""Running the blocks of a document as its reader would: in one folder, beside one running stack."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from contextlib import chdir, suppress
from pathlib import Path

import yaml
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2
from typer.main import get_command

from sluice.cli.app import app
from tests.docs.blocks import Block
from tests.docs.output import pattern, session
from tests.support.live import Live
from tests.support.paths import ROOT
from tests.support.servers import free_port

TIMEOUT_S = 60
#: For each language, the name of a program's file, and the command that runs it.
PROGRAMS = {
    "sh": ("block.sh", ["bash", "-eu", "-o", "pipefail"]),
    "python": ("block.py", [sys.executable]),
    "javascript": ("block.mjs", ["node"]),
    "java": ("Block.java", ["java"]),
    "go": ("block.go", ["go", "run"]),
    "php": ("block.php", ["php"]),
}
_RECEIVERS = re.compile(r"(?<![\d.])90\d\d(?!\d)")
SETTINGS = set(
    re.findall(r"`(SLUICE_\w+)`", (ROOT / "docs" / "reference" / "settings.md").read_text())
)


class Missing(Exception):
    """A program that this machine does not have."""


class Reader:
    """Somebody who follows one page. `folder` is theirs, and `tools` come first on their PATH."""

    def __init__(self, live: Live, folder: Path, tools: Path) -> None:
        self._folder = folder
        self._api = live.api.removeprefix("http://")
        self._ports: dict[str, str] = {}
        self._env = {
            **os.environ,
            "HOME": str(folder),
            "PATH": os.pathsep.join(
                [str(tools), str(Path(sys.executable).parent), os.environ["PATH"]]
            ),
            "PYTHONPATH": str(ROOT),  # the reader's folder is elsewhere
            "PYTHONUNBUFFERED": "1",
            "SLUICE_REDIS_URL": live.redis,
            "SLUICE_URL": live.api,
            "XDG_STATE_HOME": str(live.state.parent),
        }
        self._ids: dict[str, str] = {}
        self._background: list[tuple[Block, subprocess.Popen[bytes], Path]] = []

    def follow(self, block: Block) -> None:
        """Run a block, or check it. Raises AssertionError, or Missing."""
        text = self._at_the_stack(block.text)
        if block.title:
            (self._folder / block.title).write_text(text)
        elif "parsed" in block.marks:
            with chdir(self._folder):
                _parse(text)
        elif block.language == "console":
            self._session(text)
        elif block.language in PROGRAMS:
            self._program(block, text)
        else:
            CHECKS[block.language](text)

    def end(self) -> None:
        """Stop what runs in the background, once it has printed what it must."""
        for block, process, log in self._background:
            until = time.monotonic() + TIMEOUT_S / 3
            wanted = block.marks.get("prints", "")
            while not re.search(wanted, log.read_text()) and time.monotonic() < until:
                time.sleep(0.05)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            assert re.search(wanted, log.read_text()), f"{block.place}: {log.read_text()}"

    def _at_the_stack(self, text: str) -> str:
        """A block's text with the stack's address, free ports for the 9000s, and real ids."""
        text = text.replace("127.0.0.1:8080", self._api)
        for port in set(_RECEIVERS.findall(text)):
            self._ports.setdefault(port, str(free_port()))
        for shown, real in {**self._ports, **self._ids}.items():
            text = text.replace(shown, real)
        return text

    def _program(self, block: Block, text: str) -> None:
        name, command = PROGRAMS[block.language]
        if not shutil.which(command[0]):
            raise Missing(f"there is no {command[0]} here")
        if block.language == "sh" and "background" not in block.marks:
            text += "env -0 >.env\n"  # what a block exports, the next ones have
        (self._folder / name).write_text(text)
        if "background" in block.marks:
            self._start(block, [*command, name])
            return
        done = self._run([*command, name])
        printed = done.stdout + done.stderr
        assert str(done.returncode) in block.marks.get("exit", "0").split("|"), printed
        assert re.search(block.marks.get("prints", ""), printed), printed
        self._remember()

    def _remember(self) -> None:
        exports = self._folder / ".env"
        if exports.exists():
            pairs = [entry.partition("=") for entry in exports.read_text().split("\0") if entry]
            self._env.update({name: value for name, _, value in pairs})
            exports.unlink()

    def _start(self, block: Block, command: list[str]) -> None:
        log = self._folder / f"background-{block.line}.log"
        script = self._folder / f"background-{block.line}"
        (self._folder / command[-1]).rename(script)
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*command[:-1], script.name],
                cwd=self._folder,
                env=self._env,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._background.append((block, process, log))
        until = time.monotonic() + TIMEOUT_S / 3
        while not log.read_bytes() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert process.poll() is None, log.read_text()

    def _session(self, text: str) -> None:
        for command, shown in session(text):
            (self._folder / "block.sh").write_text(self._at_the_stack(command))
            done = self._run([*PROGRAMS["sh"][1], "block.sh"])
            assert done.returncode == 0, done.stdout + done.stderr
            assert pattern(shown).match(done.stdout.strip()), f"{done.stdout}\nis not\n{shown}"
            ids = (re.search(r"\b[a-z0-9]{26}\b", part) for part in (shown, done.stdout))
            theirs, ours = ids
            if theirs and ours:
                self._ids[theirs[0]] = ours[0]

    def _run(self, command: list[str]) -> "subprocess.CompletedProcess[str]":
        """Run a program to its end; one that takes too long is ended with all that it started."""
        with subprocess.Popen(
            command,
            cwd=self._folder,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=TIMEOUT_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                out, err = process.communicate()
                raise AssertionError(f"no end after {TIMEOUT_S} s: {out}{err}") from None
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def _parse(text: str) -> None:
    """Have the parser of a command `sluice …` read each line. Raises UsageError."""
    for line in text.splitlines():
        program, *words = shlex.split(line, comments=True)
        assert program == "sluice"
        command = get_command(app)
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        command.make_context(line, words)


def _json(text: str) -> None:
    """JSON, in which `…` stands for what a document leaves out."""
    json.loads(text.replace(", …", "").replace("{…}", "{}"))


def _settings(text: str) -> None:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    names = [line.partition("=")[0] for line in lines]
    unknown = [name for name in names if name.startswith("SLUICE_") and name not in SETTINGS]
    assert not unknown, f"no setting has this name: {unknown}"


def _configuration(text: str) -> None:
    text_format.Parse(text, model_config_pb2.ModelConfig())


#: For each language that is not run, what is checked instead.
CHECKS = {
    "csharp": lambda text: None,
    "ini": _settings,
    "json": _json,
    "prototxt": _configuration,
    "text": lambda text: None,
    "yaml": yaml.safe_load,
}
