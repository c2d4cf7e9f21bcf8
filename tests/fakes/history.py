"""The history in memory."""

from sluice.ledger.history import EVERYTHING, Filter, Page, Place
from sluice.prediction import Prediction
from tests.fakes.ledger import MemoryLedger


class MemoryHistory:
    """Pages of the predictions in a `MemoryLedger`."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def page(
        self, key: str, cursor: str | None = None, limit: int = 50, wanted: Filter = EVERYTHING
    ) -> Page:
        place = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
        matching = [
            prediction
            for prediction in self._ledger.predictions()
            if _matches(prediction, key, wanted)
        ]
        matching.sort(key=_position, reverse=True)
        beyond = [prediction for prediction in matching if _is_beyond(prediction, place)]
        results = beyond[:limit] if place.older else beyond[-limit:]
        more = len(beyond) > limit
        if not results:
            return Page([], None, None)
        newer = Place(False, results[0].created_at, results[0].id).cursor()
        older = Place(True, results[-1].created_at, results[-1].id).cursor()
        if place.older:
            return Page(results, newer if cursor else None, older if more else None)
        return Page(results, newer if more else None, older)


def _matches(prediction: Prediction, key: str, wanted: Filter) -> bool:
    passes = (
        wanted.status in (None, prediction.status)
        and wanted.model in (None, prediction.model)
        and prediction.created_at >= (wanted.since or 0)
    )
    return passes and prediction.key == key and prediction.batch is None


def _position(prediction: Prediction) -> tuple[float, str]:
    return prediction.created_at, prediction.id


def _is_beyond(prediction: Prediction, place: Place) -> bool:
    position = _position(prediction)
    return position < place[1:] if place.older else position > place[1:]
