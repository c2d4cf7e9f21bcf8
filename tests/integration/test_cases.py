"""The cases beside the checkout: requests as people really send them, and the right answers."""

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sluice.local.stack import Stack, StackConfig
from tests.support.cases.replacing import replace
from tests.support.cases.run import run
from tests.support.cases.steps import play
from tests.support.cases.world import lacking, with_world
from tests.support.paths import CASES, NO_CASES, ROOT

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(NO_CASES), reason=NO_CASES or "")]

ENV = {"SLUICE_NETGUARD_ALLOW": "127.0.0.2/32"}
ALL = [] if NO_CASES else json.loads((CASES / "cases.json").read_text())["cases"]
HANGS = [case for case in ALL if any(file.get("hangs") for file in case.get("serve", {}).values())]
PLAIN = [case for case in ALL if "setup" not in case and case not in HANGS]
SWAPS = [case for case in ALL if "models" in case.get("setup", {})]
SETUPS = [case for case in ALL if "setup" in case and case not in SWAPS]
#: Each case mostly waits.
AT_ONCE = 3


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


@pytest.fixture(scope="module")
def played(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[list[str]]]]:
    """The cases with processes of their own and those that hang, which run side by side."""
    chosen = {item.nodeid for item in request.session.items}

    def play_one(case: dict[str, Any], folder: Path) -> list[str]:
        with with_world(case["setup"], stack.addresses, folder) as world:
            return play(case["steps"], world, CASES)

    def is_chosen(case: dict[str, Any]) -> bool:
        return any(f"[{case['id']}]" in name for name in chosen)

    with ThreadPoolExecutor(AT_ONCE) as threads, ThreadPoolExecutor() as waiting:
        yield {
            case["id"]: waiting.submit(run, case, stack.addresses.api, CASES)
            for case in filter(is_chosen, HANGS)
        } | {
            case["id"]: threads.submit(play_one, case, tmp_path_factory.mktemp(case["id"]))
            for case in filter(is_chosen, SETUPS)
            if not lacking(case["setup"])
        }


@pytest.mark.parametrize("case", _by_id(HANGS))
def test_the_answer_is_right_although_a_fetch_hangs(
    case: dict[str, Any], played: dict[str, Future[list[str]]]
) -> None:
    _check(case, played[case["id"]].result())


@pytest.mark.parametrize("case", _by_id(SETUPS))
def test_a_world_of_its_own_is_right(case: dict[str, Any], request: pytest.FixtureRequest) -> None:
    if reason := lacking(case["setup"]):
        pytest.skip(reason)
    _check(case, request.getfixturevalue("played")[case["id"]].result())


@pytest.mark.parametrize("case", _by_id(SWAPS))
def test_each_answer_is_wholly_of_one_model(
    case: dict[str, Any], stack: Stack, models: Path
) -> None:
    after = CASES / case["setup"]["models"] / "after"
    for step in case["steps"]:
        if step["do"] == "replace":
            _check(case, replace(step, after, models, stack.addresses))


def test_the_cases_are_found() -> None:
    assert min(map(len, (PLAIN, HANGS, SETUPS, SWAPS))) > 0
