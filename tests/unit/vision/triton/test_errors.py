"""The words of a Triton that can't serve, and the errors that a worker makes of them."""

import pytest
from tritonclient.utils import InferenceServerException

from sluice.errors import TritonUnavailable
from sluice.vision.triton.errors import VersionNotReady, translated


@pytest.mark.parametrize(
    "message",
    [
        "Server not ready",
        "Request for unknown model: 'codes' version 1 is not at ready state",
        "Server is stopping, scheduler for model has stopped accepting new inference requests",
        "Request for unknown model: 'codes' has no available versions",
    ],
)
def test_what_a_server_says_while_it_starts_or_stops_is_no_last_word(message: str) -> None:
    """The call goes on to the next server."""
    with pytest.raises(VersionNotReady), translated("codes"):
        raise InferenceServerException(message, status="StatusCode.UNAVAILABLE")


def test_an_end_of_a_connection_may_have_come_after_the_inference_began() -> None:
    with pytest.raises(TritonUnavailable) as caught, translated("codes"):
        raise InferenceServerException("Connection reset", status="StatusCode.UNAVAILABLE")
    assert not isinstance(caught.value, VersionNotReady)
