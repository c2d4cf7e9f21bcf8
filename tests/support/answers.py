"""Answers of the service, for tests without one."""

from typing import Any

BOX = {
    "x": 50.0,
    "y": 20.0,
    "width": 20.0,
    "height": 10.0,
    "confidence": 0.9,
    "class": "qr",
    "class_id": 1,
    "detection_id": "a-0",
}


def prediction(**fields: Any) -> dict[str, Any]:
    """A prediction as `GET /v1/predictions/{id}` returns it; `fields` replace its fields."""
    return {
        "id": "a",
        "model": "codes",
        "version": "codes",
        "status": "starting",
        "input": {},
        "output": None,
        "error": None,
        "error_code": None,
        "logs": "",
        "metrics": {},
        "priority": "normal",
        "metadata": {},
        "webhook": None,
        "canceled_from": None,
        "created_at": "2026-11-28T10:00:00.000Z",
        "started_at": None,
        "completed_at": None,
        "urls": {},
        **fields,
    }


def output(*entries: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An output for an image of 100 by 40 pixels."""
    return {"image": {"width": 100, "height": 40}, "predictions": list(entries), **fields}
