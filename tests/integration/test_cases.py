"""The cases beside the checkout: requests as people really send them, and the right answers.

A case whose set-up is a Redis, a network or a memory limit of its own is not run here.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.local.stack import Stack, StackConfig
from tests.support.cases import parts
from tests.support.cases.run import run
from tests.support.paths import CASES, NO_CASES, ROOT

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(NO_CASES), reason=NO_CASES or "")]

ENV = {"SLUICE_NETGUARD_ALLOW": "127.0.0.2/32"}
ALL = [] if NO_CASES else json.loads((CASES / "cases.json").read_text())["cases"]
PLAIN = [case for case in ALL if "setup" not in case]
OF_THE_API = [case for case in ALL if "setup" in case and parts.is_of_the_api_alone(case)]
SWAPS = [case for case in ALL if "models" in case.get("setup", {})]


def _by_id(cases: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(case, id=case["id"]) for case in cases]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped models, those of the cases, and those that will be replaced."""
    models = tmp_path_factory.mktemp("models")
    before = [CASES / case["setup"]["models"] / "before" for case in SWAPS]
    for folder in (ROOT / "model_repository", CASES / "models", *before):
        shutil.copytree(folder, models, dirs_exist_ok=True, copy_function=shutil.copyfile)
    for folder in models.rglob("*"):
        folder.chmod(0o755 if folder.is_dir() else 0o644)  # the cases may be read-only
    return models


@pytest.fixture(scope="module")
def stack(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    state = tmp_path_factory.mktemp("stack")
    with Stack(StackConfig(state=state, models=models, port=0, env=ENV)) as stack:
        yield stack


def _check(case: dict[str, Any], differences: list[str]) -> None:
    assert not differences, "\n".join([case["why"], *differences])


@pytest.mark.parametrize("case", _by_id(PLAIN))
def test_the_answer_is_right(case: dict[str, Any], stack: Stack) -> None:
    _check(case, run(case, stack.addresses.api, CASES))


@pytest.mark.parametrize("case", _by_id(OF_THE_API))
def test_the_api_with_such_settings_is_right(
    case: dict[str, Any], stack: Stack, tmp_path: Path
) -> None:
    with parts.api_with(case["setup"], stack.addresses, tmp_path) as api:
        _check(case, parts.steps(case["steps"], api, CASES))


@pytest.mark.parametrize("case", _by_id(SWAPS))
def test_each_answer_is_wholly_of_one_model(
    case: dict[str, Any], stack: Stack, models: Path
) -> None:
    after = CASES / case["setup"]["models"] / "after"
    for step in case["steps"]:
        if step["do"] == "replace":
            _check(case, parts.replace(step, after, models, stack.addresses))


def test_the_cases_are_found() -> None:
    assert min(map(len, (PLAIN, OF_THE_API, SWAPS))) > 0
