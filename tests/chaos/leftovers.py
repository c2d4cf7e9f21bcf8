"""Keys that may be in Redis when all predictions have ended, and their times to live."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

TERMINAL = {"succeeded", "failed", "canceled", "aborted"}
# Celery's own key, the binding of its queue, and configuration.
WITHOUT_END = (r"_kombu\.binding.*", r".*:webhook-secrets", r".*:mark")
# The sets of a queue; an idle queue has none of them.
SETS = {
    "live",
    "ready",
    "turns",
    "delayed",
    "alone",
    "leases",
    "deadlines",
    "bytes",
    "backlogs",
    "turn",
    "dead",
    "unkept",
}
SETS |= {
    "deliveries",
    "deliveries-open",
    "deliveries-sending",
    "deliveries-dead",
    "receiver-turns",
    "receivers",
    "key-sending",
    "receiver-ready",
    "receiver-sending",
}
SLACK_S = 5


def left_over(
    audit: Mapping[str, Any], known: Set[str], doubtful: int, faults: int
) -> Iterator[str]:
    """A description of each key that should not be in Redis.

    `known` are the ids that clients were given. `doubtful` is the number of submissions without an
    id and without an answer: each may have a record all the same. A fault can leave an image
    without a use: it comes between the image and its record, or between a prediction's end and
    the image's removal. At most one image for each of the `faults` may be left.

    The audit holds `queue`, `longest_s` and `keys`. `longest_s` has the longest time to live of
    each kind of key; `orphan` is an image without a record. A key has `name`, `type`, `ttl_s` (-1:
    none), `size`, and the status of a record.
    """
    tag, longest = "{" + audit["queue"] + "}", audit["longest_s"]
    records = {
        name.split(":", 2)[2]: key
        for key in audit["keys"]
        if (name := key["name"]).startswith(f"{tag}:prediction:")
    }
    if len(strangers := set(records) - known) > doubtful:
        yield (
            f"{len(strangers)} records that no client knows of,"
            f" and {doubtful} submissions without an answer"
        )
    images = []
    for key in audit["keys"]:
        name, ttl_s = key["name"], key["ttl_s"]
        kind = _kind(name, tag)
        if kind in SETS:
            yield f"{name} holds {key['size']}"
        if kind == "prediction" and key.get("status") not in TERMINAL:
            yield f"{name} is {key.get('status')}"
        if kind == "input":
            record = records.get(name.removeprefix("blob:").split("/")[0])
            kind = "input" if record else "orphan"
            if record:
                images.append(f"{name}, whose prediction is {record.get('status')}")
            elif ttl_s > longest["orphan"] + SLACK_S:
                # The process that stored the image died before it wrote the record.
                images.append(f"{name}, which belongs to nothing")
                kind = "input"
        if ttl_s < 0 and not any(re.fullmatch(pattern, name) for pattern in WITHOUT_END):
            yield f"{name} has no time to live"
        if ttl_s > longest.get(kind, ttl_s) + SLACK_S:
            yield (
                f"{name} lives for {ttl_s} s more,"
                f" and {longest[kind]} s is the longest for its kind ({kind})"
            )
    if len(images) > faults:
        yield f"{len(images)} images without a use, after {faults} faults: {images[0]}"


def _kind(name: str, tag: str) -> str:
    """The kind of a key, such as `prediction`, `gone`, `input` or `annotated`."""
    if name.startswith(f"{tag}:"):
        return name.split(":")[1]
    return name.rpartition("/")[2].split("-")[0] if name.startswith("blob:") else name
