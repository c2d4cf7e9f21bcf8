"""Logs made by hand, for tests of the checker."""

import copy
from typing import Any

from tests.chaos import checker

OUTPUT = {
    "image": {"width": 8, "height": 6},
    "predictions": [{"x": 1.5, "confidence": 0.5, "detection_id": "reference-0"}],
}
LONGEST_S = {"prediction": 60, "gone": 70, "input": 80, "orphan": 20, "annotated": 60}
CALM, BOUND_S, RECOVERY_S = 100.0, 60.0, 20.0


class Script:
    """A log, line by line; the first lines are usual ones and a good prediction, `a`."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = [
            {"what": "start", "t": 0.0, "bound_s": BOUND_S, "recovery_s": RECOVERY_S},
            {
                "what": "case",
                "t": 1.0,
                "case": "good",
                "ends": "succeeded",
                "code": None,
                "output": OUTPUT,
                "sha": "abc",
            },
            {
                "what": "case",
                "t": 1.0,
                "case": "other",
                "ends": "succeeded",
                "code": None,
                "output": None,
                "sha": None,
            },
            {
                "what": "case",
                "t": 1.0,
                "case": "bad",
                "ends": "failed",
                "code": "not_an_image",
                "output": None,
                "sha": None,
            },
            {"what": "calm", "t": CALM},
        ]
        self.put("a", 2.0)
        self.get("a", 4.0, "processing")
        self.get("a", 6.0, "succeeded")
        self.get("a", 160.0, "succeeded")

    def say(
        self,
        t: float,
        op: str,
        prediction_id: str | None,
        *,
        case: str | None = None,
        took: float = 1.0,
        **answer: Any,
    ) -> None:
        n = len(self.records)
        self.records.append(
            {"what": "ask", "t": t, "n": n, "op": op, "id": prediction_id, "case": case}
        )
        what = "answer" if "status" in answer else "silence"
        self.records.append({"what": what, "t": t + took, "n": n, **answer})

    def put(
        self,
        prediction_id: str,
        t: float,
        status: str = "starting",
        case: str = "good",
        **fields: Any,
    ) -> None:
        self.say(
            t,
            "put",
            prediction_id,
            case=case,
            status=202,
            prediction=seen(prediction_id, status, **fields),
        )

    def get(
        self, prediction_id: str, t: float, status: str, took: float = 1.0, **fields: Any
    ) -> None:
        self.say(
            t,
            "get",
            prediction_id,
            took=took,
            status=200,
            prediction=seen(prediction_id, status, **fields),
        )

    def cancel(
        self, prediction_id: str, t: float, status: int = 200, state: str = "canceled"
    ) -> None:
        fields = (
            {"prediction": seen(prediction_id, state)} if status == 200 else {"code": "conflict"}
        )
        self.say(t, "cancel", prediction_id, status=status, **fields)


def seen(prediction_id: str, status: str, **fields: Any) -> dict[str, Any]:
    output = copy.deepcopy(OUTPUT)
    output["predictions"][0]["detection_id"] = f"{prediction_id}-0"
    return {
        "id": prediction_id,
        "status": status,
        "created_at": "2026-01-01T00:00:00Z",
        "completed_at": "2026-01-01T00:00:05Z" if status in checker.TERMINAL else None,
        "output": output if status == "succeeded" else None,
        "error_code": "not_an_image" if status == "failed" else None,
        **fields,
    }


def told(
    prediction_id: str, event: str = "completed", status: str = "succeeded", **fields: Any
) -> dict[str, Any]:
    message = {
        "message": f"{prediction_id}_{event}",
        "type": f"prediction.{event}",
        "id": prediction_id,
        "status": status,
    }
    return {
        "what": "told",
        "t": 90.0,
        **message,
        "genuine": True,
        "taken": True,
        "sha": event,
        **fields,
    }


def audit(*keys: dict[str, Any]) -> dict[str, Any]:
    return {
        "what": "audit",
        "t": 165.0,
        "queue": "default",
        "longest_s": LONGEST_S,
        "keys": list(keys),
    }


def key(name: str, ttl_s: int = 50, size: int = 1, status: str | None = None) -> dict[str, Any]:
    return {"name": name, "type": "hash", "ttl_s": ttl_s, "size": size, "status": status}
