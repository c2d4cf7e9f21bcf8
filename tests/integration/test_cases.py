"""The cases beside the checkout: what people really send, and the right answers.

A case whose set-up is a Redis, a network or a memory limit of its own is not run here.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sluice.local.stack import Stack, StackConfig
from tests.support.cases.run import run
from tests.support.paths import CASES, NO_CASES, ROOT

pytestmark = [pytest.mark.integration, pytest.mark.skipif(bool(NO_CASES), reason=NO_CASES or "")]

ENV = {"SLUICE_NETGUARD_ALLOW": "127.0.0.2/32"}


def _cases() -> list[Any]:
    if NO_CASES:
        return []
    cases = json.loads((CASES / "cases.json").read_text())["cases"]
    return [pytest.param(case, id=case["id"]) for case in cases if "setup" not in case]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A stack with the cases' models beside the shipped ones."""
    models = tmp_path_factory.mktemp("models")
    for folder in (ROOT / "model_repository", CASES / "models"):
        # Not copytree's own copying of rights: the cases may not be writable.
        shutil.copytree(folder, models, dirs_exist_ok=True, copy_function=shutil.copyfile)
    state = tmp_path_factory.mktemp("stack")
    with Stack(StackConfig(state=state, models=models, port=0, env=ENV)) as stack:
        yield stack.addresses.api


@pytest.mark.parametrize("case", _cases())
def test_the_answer_is_right(case: dict[str, Any], api: str) -> None:
    differences = run(case, api, CASES)
    assert not differences, "\n".join([case["why"], *differences])


def test_the_cases_are_found() -> None:
    assert isinstance(CASES, Path)
    assert len(_cases()) > 100
