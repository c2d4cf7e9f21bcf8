"""Triton's environment: its installation, and the checks of the machine."""

import platform
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import triton_env, venv

Version = namedtuple("Version", "major minor micro")


def no_progress(line):
    """The progress of a test that does not look at it."""


class FakeInstaller:
    """Records the commands, and makes the files that `python -m venv` makes."""

    def __init__(self):
        self.commands = []

    def __call__(self, command, progress):
        self.commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "pyvenv.cfg").touch()


@pytest.fixture
def installer():
    return FakeInstaller()


def test_the_environment_is_made_once(tmp_path, installer):
    directory = tmp_path / "env"
    lines = []
    triton_env.ensure(directory, lines.append, installer)
    assert len(installer.commands) == 2
    assert any("downloaded" in line for line in lines)
    assert triton_env.ensure(directory, install=installer).directory == directory
    assert len(installer.commands) == 2


def test_the_environment_is_made_again_when_the_requirements_change(
    tmp_path, installer, monkeypatch
):
    directory = tmp_path / "env"
    triton_env.ensure(directory, install=installer)
    (directory / "old").touch()
    changed = tmp_path / "changed.txt"
    changed.write_text("numpy==1.26.3")
    monkeypatch.setattr(triton_env, "REQUIREMENTS", changed)
    triton_env.ensure(directory, install=installer)
    assert len(installer.commands) == 4
    assert not (directory / "old").exists()


def test_an_incomplete_environment_is_made_again(tmp_path, installer):
    directory = tmp_path / "env"

    def fails_at_pip(command, progress):
        installer(command, progress)
        if "pip" in command:
            raise LocalStackError("the network is down")

    with pytest.raises(LocalStackError):
        triton_env.ensure(directory, install=fails_at_pip)
    triton_env.ensure(directory, install=installer)
    assert len(installer.commands) == 4


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, installer):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(LocalStackError, match="is something else"):
        triton_env.ensure(tmp_path, install=installer)
    assert (tmp_path / "thesis.txt").exists()
    assert installer.commands == []


def test_the_last_lines_of_a_failed_installer_are_in_the_error():
    command = [sys.executable, "-c", "import sys; sys.exit('no route to host')"]
    with pytest.raises(LocalStackError, match="no route to host"):
        venv.run_installer(command, no_progress)


@pytest.mark.parametrize(
    ("system", "machine", "libc", "kind", "version", "says"),
    [
        (
            "Darwin",
            "arm64",
            ("", ""),
            "CPython",
            (3, 12, 1),
            "Linux x86_64 only, and this is Darwin arm64",
        ),
        ("Linux", "aarch64", ("glibc", "2.36"), "CPython", (3, 12, 1), "this is Linux aarch64"),
        ("Linux", "x86_64", ("", ""), "CPython", (3, 12, 1), "glibc 2.35"),
        ("Linux", "x86_64", ("glibc", "2.31"), "CPython", (3, 12, 1), "glibc 2.35"),
        (
            "Linux",
            "x86_64",
            ("glibc", "2.36"),
            "CPython",
            (3, 14, 0),
            "needs CPython 3.11, 3.12 or 3.13",
        ),
        (
            "Linux",
            "x86_64",
            ("glibc", "2.36"),
            "PyPy",
            (3, 11, 0),
            "needs CPython 3.11, 3.12 or 3.13, and this is PyPy",
        ),
    ],
)
def test_a_machine_that_can_not_run_triton_is_refused(
    monkeypatch, system, machine, libc, kind, version, says
):
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(platform, "libc_ver", lambda: libc)
    monkeypatch.setattr(platform, "python_implementation", lambda: kind)
    monkeypatch.setattr(sys, "version_info", Version(*version))
    with pytest.raises(LocalStackError, match=says):
        triton_env.check_platform()


@pytest.fixture
def no_libraries(monkeypatch, tmp_path):
    monkeypatch.setattr(triton_env, "LIBRARY_FOLDERS", ())
    monkeypatch.setattr(triton_env.sysconfig, "get_config_var", lambda name: str(tmp_path / "lib"))
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "base"))


def test_a_missing_libpython_is_named_with_what_to_install(monkeypatch, no_libraries):
    monkeypatch.setattr(sys, "version_info", Version(3, 12, 1))
    with pytest.raises(
        LocalStackError,
        match=r"libpython3\.12\.so\.1\.0 is missing.*apt-get install libpython3\.12",
    ):
        triton_env.find_libpython()


def test_the_running_interpreters_own_library_is_found(monkeypatch, no_libraries, tmp_path):
    monkeypatch.setattr(sys, "version_info", Version(3, 11, 7))
    own = tmp_path / "base" / "lib" / "libpython3.11.so.1.0"
    own.parent.mkdir(parents=True)
    own.touch()
    assert triton_env.find_libpython() == own


def test_the_stub_for_python_3_13_needs_no_libpython(monkeypatch, no_libraries):
    monkeypatch.setattr(sys, "version_info", Version(3, 13, 0))
    assert triton_env.find_libpython() is None


def test_the_default_environment_lies_beside_the_running_one(monkeypatch):
    monkeypatch.delenv("SLUICE_LOCAL_TRITON_ENV", raising=False)
    assert venv.beside("triton") == Path(f"{sys.prefix}-triton")
    monkeypatch.setenv("SLUICE_LOCAL_TRITON_ENV", "/somewhere/else")
    assert venv.beside("triton") == Path("/somewhere/else")


def test_the_requirements_hold_hashes_and_no_addresses():
    lines = triton_env.REQUIREMENTS.read_text().splitlines()
    assert "://" not in "\n".join(lines)
    assert {line.split("==")[0] for line in lines if "==" in line and "hash" not in line} == {
        "numpy",
        "nvidia-pytriton",
        "onnxruntime",
        "openvino",
    }


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_each_python_has_a_pin_of_each_package(version):
    code = (
        "import sys; from packaging.requirements import Requirement\n"
        "for line in open(sys.argv[1]):\n"
        "    if '==' in line and 'hash' not in line:\n"
        "        r = Requirement(line.rstrip(' \\\\\\n'))\n"
        "        python = {'python_full_version': sys.argv[2]}\n"
        "        if not r.marker or r.marker.evaluate(python): print(r.name)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(triton_env.REQUIREMENTS), f"{version}.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(out.stdout.split()) == ["numpy", "nvidia-pytriton", "onnxruntime", "openvino"]


def test_an_interrupted_installer_is_killed(tmp_path):
    pid = tmp_path / "pid"
    code = (
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid()));"
        "print('Downloading', flush=True); time.sleep(60)"
    )

    def interrupt(line):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        venv.run_installer([sys.executable, "-c", code], interrupt)
    assert time.monotonic() - started < 30
    assert not Path(f"/proc/{pid.read_text()}").exists()
