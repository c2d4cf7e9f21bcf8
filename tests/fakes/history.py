"""The history in memory."""

from sluice.ledger.history import EVERYTHING, Filter, Page, Place
from sluice.prediction import Prediction
from tests.fakes.ledger import MemoryLedger


class MemoryHistory:
    """Of what is in a `MemoryLedger`."""

    def __init__(self, ledger: MemoryLedger) -> None:
        self._ledger = ledger

    def page(
        self, key: str, cursor: str | None = None, limit: int = 50, wanted: Filter = EVERYTHING
    ) -> Page:
        place = Place.parse(cursor) if cursor else Place(True, float("inf"), "")
        found = [
            row.prediction
            for row in self._ledger._rows.values()
            if _wanted(row.prediction, key, wanted)
        ]
        found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
        beyond = [one for one in found if _is_beyond(one, place)]
        results = beyond[:limit] if place.older else beyond[-limit:]
        more = len(beyond) > limit
        if not results:
            return Page([], None, None)
        newer = Place(False, results[0].created_at, results[0].id).cursor()
        older = Place(True, results[-1].created_at, results[-1].id).cursor()
        if place.older:
            return Page(results, newer if cursor else None, older if more else None)
        return Page(results, newer if more else None, older)


def _wanted(one: Prediction, key: str, wanted: Filter) -> bool:
    passes = (
        wanted.status in (None, one.status)
        and wanted.model in (None, one.model)
        and one.created_at >= (wanted.since or 0)
    )
    return passes and one.key == key and one.batch is None


def _is_beyond(one: Prediction, place: Place) -> bool:
    here = (one.created_at, one.id)
    return here < place[1:] if place.older else here > place[1:]
