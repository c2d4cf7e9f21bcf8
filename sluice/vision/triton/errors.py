"""The errors of Triton, and the translator of those that tritonclient raises."""

from collections.abc import Iterator
from contextlib import contextmanager

from tritonclient.utils import InferenceServerException

from sluice.errors import DeadlineExceeded, InferenceFailed, TritonUnavailable, UnknownModel

# gRPC's policies say the first with the last error of any one server, which may be another one.
_NO_SERVER = ("connections to all backends failing", "ejected by outlier detection")


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
        status, message = str(error.status()), str(error.message())
        reason = message.lower()
        if "unable to find system shared memory region" in reason:
            raise RegionLost("Triton has restarted") from error
        # The model is loading, or Triton is stopping: the version ends first, and is then gone.
        if "is not at ready state" in reason or "has no available versions" in reason:
            raise VersionNotReady(f"model {model!r} is not loaded at the moment") from error
        if "unknown model" in reason or status.endswith("NOT_FOUND"):
            raise UnknownModel(f"model {model!r} is not loaded") from error
        if any(words in reason for words in _NO_SERVER):
            raise NoServer("Triton is unavailable") from error
        if status.endswith(("UNAVAILABLE", "CANCELLED")):
            raise TritonUnavailable("Triton is unavailable") from error
        if status.endswith("DEADLINE_EXCEEDED"):
            raise DeadlineExceeded("Triton did not answer in time") from error
        raise InferenceFailed(f"model {model!r} failed: {message}") from error
