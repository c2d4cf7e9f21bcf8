"""Cases whose set-up is an api with settings of its own, or a model that is replaced."""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from sluice.local.config import Addresses
from tests.support.cases.run import ask
from tests.support.paths import ROOT
from tests.support.servers import free_port
from tests.support.waiting import until

Case = dict[str, Any]

_SAYS_WITHIN_S = 60.0
_REPLACE_AFTER_S = 2.0
_GO_ON_S = 10.0
_SCORE_TOLERANCE = 0.02


@dataclass(frozen=True)
class Api:
    """An api process with settings of its own, beside the stack's."""

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").is_success
        except httpx.HTTPError:
            return False


def is_of_the_api_alone(case: Case) -> bool:
    """True where the set-up has settings of the api, and nothing else."""
    setup = case["setup"]
    return setup.get("parts") == ["api"] and set(setup) <= {"env", "host", "parts", "revive"}


@contextmanager
def api_with(setup: dict[str, Any], addresses: Addresses, folder: Path) -> Iterator[Api]:
    """An api with the settings of `setup`, on the stack's Redis and Triton."""
    host, port = setup.get("host", "127.0.0.1"), free_port()
    settings = {
        "SLUICE_REDIS_URL": addresses.redis,
        "SLUICE_TRITON_HTTP_URL": addresses.triton_http,
        "SLUICE_TRITON_GRPC_URL": addresses.triton_grpc,
        "SLUICE_API_PORT": str(port),
        **setup["env"],
    }
    log = folder / "api.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", "api"],
            cwd=ROOT,
            env={**os.environ, **settings},
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            yield Api(url, process, log)
        finally:
            process.terminate()


def steps(steps: list[dict[str, Any]], api: Api, files: Path) -> list[str]:
    """Do the steps in turn; the differences of the first one that is not right."""
    for step in steps:
        if differences := _step(step, api, files):
            return [f"the step {step['do']!r}:", *differences]
    return []


def _step(step: dict[str, Any], api: Api, files: Path) -> list[str]:
    match step["do"]:
        case "sleep":
            time.sleep(step["s"])
        case "any":
            choices = [steps(choice, api, files) for choice in step["of"]]
            return min(choices, key=len)
        case "refuses-to-start":
            return [] if _has_failed(api) else ["it has started"]
        case "says":
            return _wait_for_words(step["words"], api)
        case "says-not":
            log = api.log.read_text().lower()
            return [f"{words!r} is said" for words in step["words"] if words.lower() in log]
        case "ready":
            until(api.is_ready)
        case "answers":
            return ask(step["request"], step["right"], api.url, files, {})
        case other:
            return [f"there is no step {other!r} here"]
    return []


def _has_failed(api: Api) -> bool:
    """True where the process ends with an error, within the time that a busy machine needs."""
    try:
        return api.process.wait(_SAYS_WITHIN_S) != 0
    except subprocess.TimeoutExpired:
        return False


def _wait_for_words(words: list[str], api: Api) -> list[str]:
    """The words that the log lacks. A busy machine needs more than a step's sleep to start."""
    deadline = time.monotonic() + _SAYS_WITHIN_S
    while True:
        log = api.log.read_text().lower()
        missing = [f"{text!r} is not in the log" for text in words if text.lower() not in log]
        if not missing or time.monotonic() > deadline:
            return missing
        time.sleep(0.1)


def replace(step: dict[str, Any], after: Path, models: Path, addresses: Addresses) -> list[str]:
    """Replace a model by the folder `after` while predictions run; the answers that are wrong."""
    answers: list[Any] = []
    over = threading.Event()
    submitting = threading.Thread(
        target=_submit_until, args=(over, step["model"], addresses.api, answers)
    )
    submitting.start()
    try:
        time.sleep(_REPLACE_AFTER_S)
        shutil.copytree(after, models, dirs_exist_ok=True, copy_function=shutil.copyfile)
        load = f"{addresses.triton_http}/v2/repository/models/{step['model']}/load"
        httpx.post(load, timeout=60).raise_for_status()
        time.sleep(_GO_ON_S)
    finally:
        over.set()
        submitting.join()
    wrong = [str(answer) for answer in answers if not any(_alike(answer, r) for r in step["right"])]
    if not (answers and _alike(answers[-1], step["right"][-1])):
        wrong.append(f"the new model never answered: {answers[-1:]}")
    return wrong[:5]


def _submit_until(over: threading.Event, model: str, api: str, answers: list[Any]) -> None:
    image = (ROOT / "samples" / "desk.jpg").read_bytes()
    with httpx.Client(base_url=api, timeout=70) as http:
        while not over.is_set():
            answer = http.post(
                "/v1/predictions",
                params={"model": model, "wait": 50},
                content=image,
                headers={"Content-Type": "image/jpeg"},
            )
            body = json.loads(answer.text)
            found = (body.get("output") or {}).get("predictions")
            answers.append(
                body.get("error") or answer.text[:300]
                if found is None
                else [[entry["class"], entry["confidence"]] for entry in found]
            )


def _alike(answer: Any, right: list[list[Any]]) -> bool:
    return (
        isinstance(answer, list)
        and [name for name, _ in answer] == [name for name, _ in right]
        and all(
            abs(score - wanted) <= _SCORE_TOLERANCE
            for (_, score), (_, wanted) in zip(answer, right, strict=True)
        )
    )
