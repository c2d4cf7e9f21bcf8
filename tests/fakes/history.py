"""The history in memory."""

from collections.abc import Callable, Sequence

from sluice.ledger.history import EVERYTHING, Filter, Page, Place
from sluice.prediction import Prediction
from tests.fakes.ledger import MemoryLedger


class MemoryHistory:
    """Pages of the predictions in a `MemoryLedger`."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def page(
        self,
        keys: Sequence[str],
        cursor: str | None = None,
        limit: int = 50,
        wanted: Filter = EVERYTHING,
    ) -> Page:
        matching = [
            prediction
            for prediction in self._ledger.predictions()
            if _matches(prediction, keys, wanted)
        ]
        return _page(matching, cursor, limit, lambda prediction: prediction.created_at)

    def dead(self, cursor: str | None = None, limit: int = 50) -> Page:
        return _page(
            self._ledger.dead(), cursor, limit, lambda prediction: prediction.completed_at or 0.0
        )


def _page(
    matching: list[Prediction], cursor: str | None, limit: int, at: Callable[[Prediction], float]
) -> Page:
    place = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
    matching = sorted(
        matching, key=lambda prediction: (at(prediction), prediction.id), reverse=True
    )
    beyond = [
        prediction for prediction in matching if place.precedes(at(prediction), prediction.id)
    ]
    results = beyond[:limit] if place.older else beyond[-limit:]
    more = len(beyond) > limit
    if not results:
        return Page([], None, None)
    newer = Place(False, at(results[0]), results[0].id).cursor()
    older = Place(True, at(results[-1]), results[-1].id).cursor()
    if place.older:
        return Page(results, newer if cursor else None, older if more else None)
    return Page(results, newer if more else None, older)


def _matches(prediction: Prediction, keys: Sequence[str], wanted: Filter) -> bool:
    in_time = (wanted.since or 0) <= prediction.created_at < (wanted.until or float("inf"))
    is_listed = prediction.key in keys and prediction.batch is None
    return is_listed and in_time and wanted.passes(prediction)
