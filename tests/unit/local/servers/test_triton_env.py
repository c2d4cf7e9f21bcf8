import platform
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import triton_env

Version = namedtuple("Version", "major minor micro")


@pytest.fixture
def installs(monkeypatch):
    """The commands that would have been run; each makes what a real one does."""
    commands = []

    def run(command, progress):
        commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
            (Path(command[-1]) / "pyvenv.cfg").touch()

    monkeypatch.setattr(triton_env, "_run", run)
    return commands


def test_it_is_made_once(tmp_path, installs):
    directory = tmp_path / "env"
    said = []
    triton_env.ensure(directory, said.append)
    assert len(installs) == 2
    assert any("downloaded" in line for line in said)
    assert triton_env.ensure(directory).directory == directory
    assert len(installs) == 2


def test_it_is_made_again_when_the_requirements_change(tmp_path, installs, monkeypatch):
    directory = tmp_path / "env"
    triton_env.ensure(directory)
    (directory / "old").touch()
    changed = tmp_path / "changed.txt"
    changed.write_text("numpy==1.26.3")
    monkeypatch.setattr(triton_env, "REQUIREMENTS", changed)
    triton_env.ensure(directory)
    assert len(installs) == 4
    assert not (directory / "old").exists()


def test_it_is_made_again_when_it_was_half_made(tmp_path, installs, monkeypatch):
    directory = tmp_path / "env"
    whole = triton_env._run

    def broken(command, progress):
        whole(command, progress)
        if "pip" in command:
            raise LocalStackError("the network went away")

    monkeypatch.setattr(triton_env, "_run", broken)
    with pytest.raises(LocalStackError):
        triton_env.ensure(directory)
    monkeypatch.setattr(triton_env, "_run", whole)
    triton_env.ensure(directory)
    assert len(installs) == 4


def test_a_folder_that_is_something_else_is_left_alone(tmp_path, installs):
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(LocalStackError, match="is something else"):
        triton_env.ensure(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_what_an_installer_said_is_in_the_error():
    with pytest.raises(LocalStackError, match="no route to host"):
        triton_env._run(
            [sys.executable, "-c", "import sys; sys.exit('no route to host')"], lambda line: None
        )


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
def test_a_machine_that_can_not_run_it(monkeypatch, system, machine, libc, kind, version, says):
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


def test_the_running_interpreters_own_library_serves(monkeypatch, no_libraries, tmp_path):
    monkeypatch.setattr(sys, "version_info", Version(3, 11, 7))
    own = tmp_path / "base" / "lib" / "libpython3.11.so.1.0"
    own.parent.mkdir(parents=True)
    own.touch()
    assert triton_env.find_libpython() == own


def test_the_stub_for_3_13_needs_none(monkeypatch, no_libraries):
    monkeypatch.setattr(sys, "version_info", Version(3, 13, 0))
    assert triton_env.find_libpython() is None


def test_the_default_lies_beside_the_environment_that_runs(monkeypatch):
    monkeypatch.delenv("SLUICE_LOCAL_TRITON_ENV", raising=False)
    assert triton_env.default_directory() == Path(f"{sys.prefix}-triton")
    monkeypatch.setenv("SLUICE_LOCAL_TRITON_ENV", "/somewhere/else")
    assert triton_env.default_directory() == Path("/somewhere/else")


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
def test_the_pins_have_a_marker_for_each_python(version):
    code = (
        "import sys; from packaging.requirements import Requirement\n"
        "for line in open(sys.argv[1]):\n"
        "    if '==' in line and 'hash' not in line:\n"
        "        r = Requirement(line.rstrip(' \\\\\\n'))\n"
        "        if not r.marker or r.marker.evaluate({'python_full_version': sys.argv[2]}): print(r.name)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(triton_env.REQUIREMENTS), f"{version}.1"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(out.stdout.split()) == ["numpy", "nvidia-pytriton", "onnxruntime", "openvino"]


def test_an_interrupted_installer_is_not_waited_for(tmp_path):
    pid = tmp_path / "pid"
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); print('Downloading', flush=True); time.sleep(60)"

    def interrupt(line):
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        triton_env._run([sys.executable, "-c", code], interrupt)
    assert time.monotonic() - started < 30
    assert not Path(f"/proc/{pid.read_text()}").exists()
