"""The messages between a worker and an ensemble."""

import pytest

from sluice.errors import (
    ImageTooLarge,
    InvalidInput,
    NotAnImage,
    TruncatedImage,
    UnsupportedModel,
)
from sluice.vision.ensemble import Answer, Request, error_in, message_of


@pytest.mark.parametrize(
    "request_",
    [
        Request(),
        Request("é", 0.1, 0.7, 5, (), True, 10, "png"),
        Request(classes=(0, 7)),
    ],
)
def test_a_request_comes_back(request_: Request) -> None:
    assert Request.parse(request_.encoded()) == request_


def test_a_request_may_be_short_or_empty() -> None:
    assert Request.parse(b'{"iou": 0.7}') == Request(iou=0.7)
    assert Request.parse(b"") == Request()


@pytest.mark.parametrize("data", [b"{", b"[1]", b'{"treshold": 1}', b'{"classes": 5}', b"\xff"])
def test_a_request_that_can_not_be_read_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="can't be read"):
        Request.parse(data)


def test_an_answer_comes_back_to_the_bit() -> None:
    output = {"predictions": [{"class": "人", "confidence": 0.12345, "x": 1 / 3}]}
    answer = Answer(output, {"decode_time": 0.001}, b"drawing")
    assert Answer.parse(answer.encoded(), b"drawing") == answer


@pytest.mark.parametrize(
    "kind", [NotAnImage, TruncatedImage, ImageTooLarge, UnsupportedModel, InvalidInput]
)
def test_an_error_comes_back_as_its_own_class(kind: type[InvalidInput]) -> None:
    text = f"in ensemble 'm', {message_of(kind('say “é”'))}; more words"
    found = error_in(text)
    assert type(found) is kind
    assert found.message == "say “é”"


@pytest.mark.parametrize("text", ["no mark", "sluice-error:", "sluice-error:{}", "sluice-error:["])
def test_a_failure_of_triton_is_no_error_of_a_step(text: str) -> None:
    assert error_in(text) is None
