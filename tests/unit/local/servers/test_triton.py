"""The folder of backends of the embedded Triton."""

import ast
import sys
from pathlib import Path

import pytest

from sluice.errors import LocalStackError
from sluice.local.servers import triton
from sluice.local.servers.triton_env import TritonEnv
from tests.support.paths import ROOT


def _environment(directory: Path) -> TritonEnv:
    """An environment with a server of empty files."""
    env = TritonEnv(directory, libpython=None)
    stub = env.server / "python_backend_stubs" / env.version / "triton_python_backend_stub"
    for path in (stub, env.server / "backends" / "python" / "libtriton_python.so"):
        path.parent.mkdir(parents=True)
        path.touch()
    return env


def test_tritons_python_finds_the_packages_of_this_environment(tmp_path: Path) -> None:
    env = _environment(tmp_path / "env")
    for _ in range(2):  # the second time replaces the first
        triton.prepare(tmp_path / "triton", env)
    python = tmp_path / "triton" / "backends" / "python"
    assert (python / "libtriton_python.so").is_file()
    for name in triton.STEP_PACKAGES:
        assert (python / name / "__init__.py").is_file(), name
    assert (python / "worker" / "triton_steps.py").samefile(ROOT / "worker" / "triton_steps.py")
    libraries = {path.name for path in python.glob("*.libs")}
    assert libraries <= {"opencv_python_headless.libs", "pillow.libs"}
    assert not (python / "numpy").exists(), "Triton has a numpy of its own"


def test_a_package_that_is_missing_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triton, "STEP_PACKAGES", ("sluice", "no_such_package"))
    triton.prepare(tmp_path / "triton", _environment(tmp_path / "env"))
    links = {p.name for p in (tmp_path / "triton/backends/python").iterdir() if p.is_symlink()}
    assert links == {"sluice"}


def test_an_environment_without_a_stub_is_explained(tmp_path: Path) -> None:
    with pytest.raises(LocalStackError, match="sluice setup"):
        triton.prepare(tmp_path / "triton", TritonEnv(tmp_path / "env", libpython=None))


def test_tritons_python_has_every_package_that_the_steps_import() -> None:
    """All modules that `worker/triton_steps.py` brings with it, by their imports at the top."""
    found, left = set(), ["worker.triton_steps"]
    seen: set[str] = set()
    while left:
        module = left.pop()
        if module in seen or (path := _file(module)) is None:
            continue
        seen.add(module)
        for node in ast.parse(path.read_text()).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            left += names
            found |= {name.partition(".")[0] for name in names}
    assert "sluice.vision.heads.detect" in seen
    outside = found - set(sys.stdlib_module_names) - {"numpy", "triton_python_backend_utils"}
    assert outside == set(triton.STEP_PACKAGES)


def _file(module: str) -> Path | None:
    path = ROOT / Path(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None
