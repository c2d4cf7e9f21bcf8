"""The metrics of HTTP requests and of submissions, which the api exposes."""

from collections.abc import Iterator
from functools import lru_cache

from sluice.errors import SluiceError
from sluice.metrics.exemplars import Exemplars
from sluice.metrics.recorder import OTHER, BoundedNames, Recorder
from sluice.prediction import Priority

_BUCKETS_S = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_SERIES = 256
"""Series that are kept at hand, of each metric."""
_METHODS = {"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
_SUBMISSIONS = {
    ("POST", "/v1/predictions"),
    ("PUT", "/v1/predictions/{id}"),
    ("POST", "/v1/models/{owner}/{name}/predictions"),
    ("POST", "/v1/batches"),
}


class HttpMetrics:
    """Times end with the last byte of the answer, so a long poll counts the time that it waits."""

    def __init__(self, recorder: Recorder, exemplars: Exemplars | None = None) -> None:
        self._exemplars = exemplars or Exemplars()
        self._model = BoundedNames()
        requests = recorder.counter(
            "sluice_http_requests_total", "Requests answered.", "method", "route", "status"
        )
        seconds = recorder.histogram(
            "sluice_http_request_seconds",
            "Seconds until the last byte of the answer.",
            "method",
            "route",
            buckets=_BUCKETS_S,
        )
        self.connections = recorder.gauge("sluice_http_connections", "Open connections of clients.")
        self.followers = recorder.gauge("sluice_http_followers", "Open long polls and streams.")
        accepted = recorder.counter(
            "sluice_predictions_accepted_total",
            "Submissions accepted. A repeat under the same id counts again.",
            "model",
            "priority",
        )
        self._refused = recorder.counter(
            "sluice_predictions_refused_total",
            "Submissions refused, and refused images of batches, by the code of the problem.",
            "code",
        )
        # The client library looks a series up under a lock, which costs as much as the counting.
        self._requests = lru_cache(_SERIES)(requests.labels)
        self._seconds = lru_cache(_SERIES)(seconds.labels)
        self._accepted = lru_cache(_SERIES)(accepted.labels)
        for code in sorted(error_codes()):
            self._refused.labels(code)

    def answered(
        self, method: str, route: str, status: int, seconds: float, code: str | None = None
    ) -> None:
        """Count a request. `route` is a pattern, and `code` that of a problem."""
        method = method if method in _METHODS else OTHER
        self._requests(method, route, status).inc()
        self._seconds(method, route).observe(seconds, self._exemplars())
        if status >= 400 and (method, route) in _SUBMISSIONS:
            self.refused(code or SluiceError.code)

    def accepted(self, model: str, priority: Priority) -> None:
        """Count an accepted submission. `model` may be a client's word."""
        self._accepted(self._model(model), priority.value).inc()

    def refused(self, code: str) -> None:
        """Count a refused submission, or a refused image of a batch."""
        self._refused.labels(code).inc()


def error_codes(kind: type[SluiceError] = SluiceError) -> Iterator[str]:
    """The codes of all errors of Sluice, some of them twice."""
    yield kind.code
    for child in kind.__subclasses__():
        yield from error_codes(child)
