"""Cases whose set-up is a model that is replaced while it serves."""

import json
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import httpx

from sluice.local.config import Addresses
from tests.support.paths import ROOT

_REPLACE_AFTER_S = 2.0
_GO_ON_S = 10.0
_SCORE_TOLERANCE = 0.02


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
