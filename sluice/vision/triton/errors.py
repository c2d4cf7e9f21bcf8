"""The errors of Triton, and the translator of those that tritonclient raises."""

from collections.abc import Iterator
from contextlib import contextmanager

from tritonclient.utils import InferenceServerException

from sluice.counts import EventCounts
from sluice.errors import (
    DeadlineExceeded,
    InferenceFailed,
    SluiceError,
    TritonUnavailable,
    UnknownModel,
)

ERRORS = EventCounts(
    "failed", "no_server", "not_ready", "region_lost", "timeout", "unavailable", "unknown_model"
)
"""Calls to Triton that failed in this process, by the reason. Metrics read them."""

# gRPC's policies say the first with the last error of any one server, which may be another one.
_NO_SERVER = ("connections to all backends failing", "ejected by outlier detection")

# The model is loading, or Triton starts or stops. No inference began, and another server may have
# the version. A stopping Triton says any of the last three.
_NOT_READY = (
    "server not ready",
    "is not at ready state",
    "has stopped accepting new inference requests",
    "has no available versions",
)


class ModelReplaced(TritonUnavailable):
    """Triton runs another version than the one that was described: describe it again, and repeat.

    Outputs of one version are never read by the description of another one.
    """


class VersionNotReady(TritonUnavailable):
    """The version is loading, or ends because another one is live."""


class NoServer(TritonUnavailable):
    """gRPC gave the call to no server: each one refuses connections, or is passed over."""


class RegionLost(TritonUnavailable):
    """Triton does not know the region: Triton has restarted since the registration."""


@contextmanager
def translated(model: str) -> Iterator[None]:
    """Raises an error of Sluice for each error that tritonclient raises inside."""
    try:
        yield
    except InferenceServerException as error:
        reason, ours = _translate(error, model)
        ERRORS.add(reason)
        raise ours from error


def _translate(error: InferenceServerException, model: str) -> tuple[str, SluiceError]:
    """The reason that metrics count, and the error of Sluice."""
    status, message = str(error.status()), str(error.message())
    text = message.lower()
    ours: tuple[str, SluiceError]
    if "unable to find system shared memory region" in text:
        ours = "region_lost", RegionLost("Triton has restarted")
    elif any(words in text for words in _NOT_READY):
        ours = "not_ready", VersionNotReady(f"model {model!r} is not loaded at the moment")
    elif "unknown model" in text or status.endswith("NOT_FOUND"):
        ours = "unknown_model", UnknownModel(f"model {model!r} is not loaded")
    elif any(words in text for words in _NO_SERVER):
        ours = "no_server", NoServer("Triton is unavailable")
    elif status.endswith(("UNAVAILABLE", "CANCELLED")):
        ours = "unavailable", TritonUnavailable("Triton is unavailable")
    elif status.endswith("DEADLINE_EXCEEDED"):
        ours = "timeout", DeadlineExceeded("Triton did not answer in time")
    else:
        ours = "failed", InferenceFailed(f"model {model!r} failed: {message}")
    return ours
