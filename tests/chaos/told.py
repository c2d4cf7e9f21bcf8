"""Breaches of the webhooks' promises.

    untold        a prediction ended, and no message said so
    mistold       a message differs from what clients saw, one event came in two ways, or the start
                  came after the end
    forged        a message with a wrong signature

The log has a `told` line for each message that the receiver heard, in order.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Record = Mapping[str, Any]


def mistakes(messages: Sequence[Record], ends: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Each breach: its kind, a prediction's id and a description.

    `ends` are the final statuses that clients saw, by prediction.
    """
    of: dict[str, list[Record]] = defaultdict(list)
    ways: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
    for message in messages:
        if not message["genuine"]:
            yield "forged", message["id"], f"{message['message']} is signed wrongly"
        of[message["id"]].append(message)
        ways[message["id"], message["type"]].add((message["message"], message["sha"]))
    for (prediction_id, kind), ways_told in ways.items():
        if len(ways_told) > 1:
            yield (
                "mistold",
                prediction_id,
                f"{kind} came in {len(ways_told)} ways: another webhook-id or another body",
            )
    for prediction_id, status in ends.items():
        heard = of.get(prediction_id, [])
        ends_told = [
            place
            for place, message in enumerate(heard)
            if message["type"] == "prediction.completed"
        ]
        if not any(heard[place]["taken"] for place in ends_told):
            yield "untold", prediction_id, f"it ended {status}, and no webhook said so"
        for place in ends_told:
            if heard[place]["status"] != status:
                yield (
                    "mistold",
                    prediction_id,
                    f"told that it ended {heard[place]['status']}; clients saw {status}",
                )
                break
        if ends_told and any(
            message["type"] == "prediction.start" for message in heard[ends_told[0] :]
        ):
            yield "mistold", prediction_id, "its start was told after its end"
