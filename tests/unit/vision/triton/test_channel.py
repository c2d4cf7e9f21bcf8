"""The channel is replaced when it answers nothing, and only then."""

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from tritonclient.utils import InferenceServerException

from sluice.errors import DeadlineExceeded, TritonUnavailable
from sluice.vision.triton.channel import Channel


class FakeClient:
    """A client whose calls are functions of the test."""

    def __init__(self, closed: list[int], number: int) -> None:
        self.number = number
        self._closed = closed

    def close(self) -> None:
        self._closed.append(self.number)

    def __del__(self) -> None:  # as tritonclient's
        self.close()


class Clients:
    """Makes clients with numbers from 1, and remembers which were closed."""

    def __init__(self) -> None:
        self.made = 0
        self.closed: list[int] = []

    def __call__(self) -> FakeClient:
        self.made += 1
        return FakeClient(self.closed, self.made)


@pytest.fixture
def clients() -> Clients:
    return Clients()


@pytest.fixture
def channel(clients: Clients) -> Channel:
    return Channel(clients)


def _late(_: Any) -> int:
    raise InferenceServerException("late", status="StatusCode.DEADLINE_EXCEEDED")


def _number(client: Any) -> int:
    return int(client.number)


def test_a_channel_that_answers_nothing_is_replaced_and_closed(
    channel: Channel, clients: Clients
) -> None:
    assert channel.call("codes", _number) == 1
    with pytest.raises(DeadlineExceeded):
        channel.call("codes", _late)
    gc.collect()  # the error held the client
    assert clients.closed == [1]
    assert [channel.call("codes", _number) for _ in range(3)] == [2, 2, 2]


def test_a_channel_that_answers_others_is_kept_after_a_late_call(
    channel: Channel, clients: Clients
) -> None:
    """One model may be slow, or one of several servers."""

    def late_while_another_is_answered(_: Any) -> int:
        channel.call("codes", _number)
        return _late(_)

    with pytest.raises(DeadlineExceeded):
        channel.call("codes", late_while_another_is_answered)
    assert clients.made == 1


@pytest.mark.parametrize("status", ["UNAVAILABLE", "NOT_FOUND", "INTERNAL", "INVALID_ARGUMENT"])
def test_an_error_is_an_answer(channel: Channel, clients: Clients, status: str) -> None:
    """After a failed connection gRPC itself connects again, with a growing pause."""

    def refused(_: Any) -> int:
        raise InferenceServerException("no", status=f"StatusCode.{status}")

    def late_while_another_is_refused(_: Any) -> int:
        with pytest.raises(Exception, match=r"Triton is unavailable|codes"):
            channel.call("codes", refused)
        return _late(_)

    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            channel.call("codes", late_while_another_is_refused)
    assert clients.made == 1


def test_among_several_servers_one_late_call_is_not_enough(clients: Clients) -> None:
    """The next call of a thread goes to another server, which may answer."""
    channel = Channel(clients, patience_s=0.2)
    with pytest.raises(DeadlineExceeded):
        channel.call("codes", _late)
    assert clients.made == 1
    time.sleep(0.3)
    with pytest.raises(DeadlineExceeded):
        channel.call("codes", _late)
    assert clients.made == 2


_PASSED_OVER = "ipv4:10.0.0.1:8001: subchannel ejected by outlier detection"
_REFUSED = "UNKNOWN: ipv4:10.0.0.2:8001: Failed to connect to remote host: Connection refused"


def _unavailable(message: str) -> InferenceServerException:
    return InferenceServerException(message, status="StatusCode.UNAVAILABLE")


@pytest.mark.parametrize("last", [_PASSED_OVER, _REFUSED])
def test_a_channel_that_reaches_no_server_is_replaced_at_once(clients: Clients, last: str) -> None:
    """The last error is of any one server: another one may be passed over."""
    channel = Channel(clients, unavailable_s=0)

    def first_refused(client: FakeClient) -> int:
        if client.number == 1:
            raise _unavailable(f"connections to all backends failing; last error: {last}")
        return client.number

    assert [channel.call("codes", first_refused) for _ in range(3)] == [2, 2, 2]


def test_a_new_channel_that_reaches_no_server_is_kept_for_a_while(
    channel: Channel, clients: Clients
) -> None:
    def refused(_: Any) -> int:
        raise _unavailable(f"connections to all backends failing; last error: {_REFUSED}")

    for _ in range(20):
        with pytest.raises(TritonUnavailable):
            channel.call("codes", refused)
    assert clients.made == 1


def test_a_call_that_may_have_reached_a_server_is_not_made_again(clients: Clients) -> None:
    channel = Channel(clients, unavailable_s=0)
    calls = 0

    def broken(_: Any) -> int:
        nonlocal calls
        calls += 1
        raise _unavailable("Socket closed")

    with pytest.raises(TritonUnavailable):
        channel.call("codes", broken)
    assert (calls, clients.made) == (1, 1)


def test_a_channel_that_is_refused_for_long_is_replaced(clients: Clients) -> None:
    """The words of gRPC do not matter."""
    channel = Channel(clients, unavailable_s=0.2)

    def refused(_: Any) -> int:
        raise _unavailable("some new words")

    def call() -> None:
        with pytest.raises(TritonUnavailable):
            channel.call("codes", refused)

    call()
    time.sleep(0.3)
    assert channel.call("codes", _number) == 1  # an answer begins the time again
    call()
    call()
    assert clients.made == 1
    time.sleep(0.3)
    call()
    assert channel.call("codes", _number) == 2


def test_many_late_calls_of_one_channel_replace_it_once(channel: Channel, clients: Clients) -> None:
    together = threading.Barrier(8)

    def late_together(_: Any) -> int:
        together.wait(10)
        return _late(_)

    def call(_: int) -> None:
        with pytest.raises(DeadlineExceeded):
            channel.call("codes", late_together)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(call, range(8)))
    assert clients.made == 2


def test_a_call_under_way_ends_on_the_channel_that_it_began_on(
    channel: Channel, clients: Clients
) -> None:
    began, ends = threading.Event(), threading.Event()

    def slow(client: FakeClient) -> tuple[int, list[int]]:
        began.set()
        assert ends.wait(10)
        gc.collect()
        return client.number, list(clients.closed)

    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(channel.call, "codes", slow)
        assert began.wait(10)
        with pytest.raises(DeadlineExceeded):
            channel.call("codes", _late)
        assert channel.call("codes", _number) == 2
        ends.set()
        assert answer.result(10) == (1, []), "the client was closed under the call"
    gc.collect()
    assert clients.closed == [1]
