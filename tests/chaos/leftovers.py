"""What may be in Redis when all predictions have ended, and for how long."""

import re
from collections.abc import Iterator, Mapping, Set
from typing import Any

TERMINAL = {"succeeded", "failed", "canceled", "aborted"}
# Celery's own: the binding of its queue, and what killed workers had received, which it gives back by itself after minutes. And
# what is configuration.
WITHOUT_END = (r"_kombu\.binding.*", r"unacked(_index|_mutex)?:.*", r".*:webhook-secrets")
# Of a queue that is idle: all empty, so not there.
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
    """In words, each thing that should not be there.

    `known` are the ids that clients were given; `doubtful` is how many submissions without an id of the client's own had no
    answer, each of which may have been recorded all the same. A fault that falls between an image and its record, or between the
    end of a prediction and the removal of its image, leaves that to its time to live: so many as there were `faults` may be left,
    and no more.

    The audit holds `queue`, `longest_s` (a kind of key → its longest time to live, `orphan` that of an image without a record)
    and `keys`: name, type, ttl_s (-1: none), size, and the status of a record.
    """
    tag, longest = "{" + audit["queue"] + "}", audit["longest_s"]
    records = {
        name.split(":", 2)[2]: key
        for key in audit["keys"]
        if (name := key["name"]).startswith(f"{tag}:prediction:")
    }
    if len(strangers := set(records) - known) > doubtful:
        yield f"{len(strangers)} records that no client knows of, and {doubtful} submissions without an answer"
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
            elif (
                ttl_s > longest["orphan"] + SLACK_S
            ):  # whoever had stored it died before it came to the record
                images.append(f"{name}, which belongs to nothing")
                kind = "input"
        if ttl_s < 0 and not any(re.fullmatch(pattern, name) for pattern in WITHOUT_END):
            yield f"{name} has no time to live"
        if ttl_s > longest.get(kind, ttl_s) + SLACK_S:
            yield f"{name} lives for {ttl_s} s more, and {longest[kind]} s is the longest for its kind ({kind})"
    if len(images) > faults:
        yield f"{len(images)} images that nobody needs, after {faults} faults: {images[0]}"


def _kind(name: str, tag: str) -> str:
    """`prediction`, `gone`, `input`, `annotated`, or what else the name says."""
    if name.startswith(f"{tag}:"):
        return name.split(":")[1]
    return name.rpartition("/")[2].split("-")[0] if name.startswith("blob:") else name
