"""A prediction's record in Redis: a hash of fields, each absent where it has its default."""

import json
from collections.abc import Mapping

from pydantic import ValidationError
from pydantic_core import from_json

from sluice.errors import Gone, NotFound, OutputTooLarge
from sluice.prediction import Parameters, Prediction, Priority, Problem, Status, Submission

_TEXTS = ("image_url", "webhook", "base_url", "ticket", "batch", "traceparent", "tracestate")


def to_record(submission: Submission, digest: str) -> list[str]:
    """Fields and values in turn; `key`, `priority` and what the scripts keep are not among them."""
    fields = {
        "model": submission.model,
        "parameters": submission.parameters.model_dump_json(),
        "digest": digest,
        "metadata": json.dumps(submission.metadata) if submission.metadata else None,
        "webhook_events": ",".join(submission.webhook_events) or None,
        "start_within_s": None
        if submission.start_within_s is None
        else repr(submission.start_within_s),
        **{name: getattr(submission, name) or None for name in _TEXTS},
    }
    return [part for name, value in fields.items() if value is not None for part in (name, value)]


def read_record(
    prediction_id: str, key: str | None, fields: Mapping[bytes, bytes], gone: bytes | None
) -> Prediction:
    """The answer of `Ledger.get`, from the record's hash and the mark of one that is over.

    Raises NotFound, or Gone where its retention is over.
    """
    owner = fields.get(b"key", gone)
    if owner is None or (key is not None and owner.decode() != key):
        raise NotFound(f"no prediction {prediction_id!r} is known; is the id right?")
    if not fields:
        raise Gone(f"prediction {prediction_id!r} was removed: its retention is over")
    return from_record(prediction_id, fields)


def from_record(
    prediction_id: str, fields: Mapping[bytes, bytes], *, to_run: bool = False
) -> Prediction:
    """The prediction that a record's hash holds, as Redis answers it.

    A newer version may have written fields and parameters that this one does not know. Both are
    left out. With `to_run` an unknown parameter raises ValidationError: no worker may run a
    prediction without it.
    """

    def number(name: bytes) -> float | None:
        return float(fields[name]) if name in fields else None

    texts = {name: fields[name.encode()].decode() for name in _TEXTS if name.encode() in fields}
    return Prediction(
        id=prediction_id,
        model=fields[b"model"].decode(),
        status=Status(fields[b"status"].decode()),
        parameters=_parameters(fields[b"parameters"], exact=to_run),
        key=fields[b"key"].decode(),
        priority=Priority(fields[b"priority"].decode()),
        metadata=json.loads(fields.get(b"metadata", b"{}")),
        start_within_s=number(b"start_within_s"),
        webhook_events=tuple(fields[b"webhook_events"].decode().split(","))
        if b"webhook_events" in fields
        else (),
        created_at=float(fields[b"created_at"]),
        started_at=number(b"started_at"),
        completed_at=number(b"completed_at"),
        queued_at=number(b"queued_at"),
        attempts=int(fields.get(b"attempts", 0)),
        retries=int(fields.get(b"retries", 0)),
        digest=fields[b"digest"].decode(),
        # Outputs are the longest part by far, and pydantic's parser takes 0.4 of json's time.
        output=from_json(fields[b"output"]) if b"output" in fields else None,
        error=Problem.model_validate_json(fields[b"error"]) if b"error" in fields else None,
        metrics=json.loads(fields.get(b"metrics", b"{}")),
        canceled_from=Status(fields[b"canceled_from"].decode())
        if b"canceled_from" in fields
        else None,
        logs=fields.get(b"logs", b"").decode(errors="replace"),
        **texts,
    )


def _parameters(text: bytes, *, exact: bool) -> Parameters:
    try:
        return Parameters.model_validate_json(text)
    except ValidationError:
        if exact:
            raise
        known = {k: v for k, v in json.loads(text).items() if k in Parameters.model_fields}
        return Parameters.model_validate_json(json.dumps(known))


def check_size(output: str, max_bytes: int) -> None:
    """Raises OutputTooLarge for an output, as JSON, of more than `max_bytes`."""
    if len(output) > max_bytes:
        raise OutputTooLarge(
            f"the result has {len(output):,} bytes, and at most {max_bytes:,} are kept;"
            " ask for fewer detections"
        )
