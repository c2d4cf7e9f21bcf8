"""The gRPC channel to Triton, and a new one in place of a channel that answers nothing."""

import json
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import tritonclient.grpc as grpcclient

from sluice import logs
from sluice.errors import DeadlineExceeded, SluiceError, TritonUnavailable
from sluice.vision.triton.errors import NoServer, translated

log = logs.get(__name__)

T = TypeVar("T")
_PINGED_AFTER = 0.4  # the part of `silence_s` after which a ping asks; the rest is for its answer
_RECONNECT_MAX_S = 1.0

# Several servers take turns. One that fails 85 % of its calls within 10 s gets none for 30 s, if
# another one answers. By default each further time would take 30 s more, up to five minutes: a
# server with a new model version would wait so long for its first call.
# The first policy that this gRPC knows is taken.
_ROUND_ROBIN: dict[str, Any] = {"round_robin": {}}
_WITHOUT_OUTLIERS: dict[str, Any] = {
    "outlier_detection_experimental": {
        "interval": "10s",
        "baseEjectionTime": "30s",
        "maxEjectionTime": "30s",
        "maxEjectionPercent": 50,
        "failurePercentageEjection": {"threshold": 85, "minimumHosts": 2, "requestVolume": 1},
        "childPolicy": [_ROUND_ROBIN],
    }
}


def connect(grpc_url: str, silence_s: float) -> grpcclient.InferenceServerClient:
    """Return a client with a channel of its own, which connects on its first call.

    A connection on which nothing comes back for `silence_s`, while a call waits, is ended.
    """
    silence_ms = int(silence_s * 1000)
    ping_ms = int(silence_ms * _PINGED_AFTER)
    arguments: list[tuple[str, int | str]] = [
        # Otherwise a new channel would take over the connections of the one that was given up.
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.keepalive_time_ms", ping_ms),
        # gRPC takes the first for TCP_USER_TIMEOUT alone, and the second for pings.
        ("grpc.keepalive_timeout_ms", silence_ms - ping_ms),
        ("grpc.http2.ping_timeout_ms", silence_ms - ping_ms),
        # The time for one attempt to connect. By default it is 20 s.
        ("grpc.min_reconnect_backoff_ms", silence_ms),
        # By default a worker may wait two minutes after Triton is back.
        ("grpc.max_reconnect_backoff_ms", int(_RECONNECT_MAX_S * 1000)),
        # By default the addresses of pods that are gone would be tried for 30 s.
        ("grpc.dns_min_time_between_resolutions_ms", 5000),
        ("grpc.max_receive_message_length", -1),
        ("grpc.max_send_message_length", -1),
    ]
    if "://" in grpc_url:  # dns:///service: a connection to each address, instead of the first
        policies = [_WITHOUT_OUTLIERS, _ROUND_ROBIN]
        arguments.append(("grpc.service_config", json.dumps({"loadBalancingConfig": policies})))
    return grpcclient.InferenceServerClient(grpc_url, channel_args=arguments)


class Channel:
    """The channel in use. Thread-safe.

    A new channel takes its place in three cases. Calls under way end by themselves.

    - A call met its deadline without any answer on the channel since the call began, and for
      `patience_s` before.
    - gRPC gave a call to no server. The channel may pass over the only one that is left. The call
      reached none, and is made again.
    - All calls were refused for `unavailable_s`, longer than gRPC waits between connections.
    """

    def __init__(
        self,
        connect: Callable[[], grpcclient.InferenceServerClient],
        *,
        patience_s: float = 0.0,
        unavailable_s: float = 3 * _RECONNECT_MAX_S,
    ) -> None:
        self._connect = connect
        self._unavailable_s = unavailable_s
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._link = _Link(connect())

    @property
    def client(self) -> grpcclient.InferenceServerClient:
        """The client, for a call whose deadline says nothing about the channel."""
        return self._link.client

    def call(self, model: str, make: Callable[[grpcclient.InferenceServerClient], T]) -> T:
        """Make a call about `model`. Raises the translated errors of Triton."""
        link = self._link
        try:
            return self._call(link, model, make)
        except NoServer:
            if link is self._link and time.monotonic() - link.made_at < self._unavailable_s:
                raise  # a channel so new passes over no server
            self._replace(link, "reaches no server")
            return self._call(self._link, model, make)

    def close(self) -> None:
        self._link.client.close()

    def _call(
        self, link: "_Link", model: str, make: Callable[[grpcclient.InferenceServerClient], T]
    ) -> T:
        began_at = time.monotonic()
        try:
            with translated(model):
                answer = make(link.client)
        except DeadlineExceeded:
            if link.answered_at < began_at - self._patience_s:
                self._replace(link, "the channel answers nothing")
            raise
        except SluiceError as error:  # Triton's answer, or the end of a connection
            link.answered_at = now = time.monotonic()
            refused_at = link.refused_at
            if type(error) not in (TritonUnavailable, NoServer):
                link.refused_at = None
            elif refused_at is None:
                link.refused_at = now
            elif began_at - refused_at > self._unavailable_s:
                self._replace(link, "all servers refuse the channel")
            raise
        link.answered_at, link.refused_at = time.monotonic(), None
        return answer

    def _replace(self, link: "_Link", why: str) -> None:
        with self._lock:
            if link is not self._link:
                return  # by another call already
            # The last call under way holds the last reference, and the client closes with it.
            self._link = _Link(self._connect())
        log.warning("channel_replaced", "a new channel to Triton is used", reason=why)


class _Link:
    """A client, and what it met. Times are by the monotonic clock."""

    def __init__(self, client: grpcclient.InferenceServerClient) -> None:
        self.client = client
        self.made_at = time.monotonic()
        #: The last answer, or else the start.
        self.answered_at = self.made_at
        #: The first of the refusals since the last answer of a server.
        self.refused_at: float | None = None
