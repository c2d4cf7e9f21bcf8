"""gRPC passes over a server that failed, and the others end: the one that is left gets the calls.

The servers answer as Triton does, and need no models. The test chooses who fails, and when.
"""

import time
from collections.abc import Iterator
from concurrent import futures
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import grpc
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from sluice.errors import TritonUnavailable, UnknownModel
from sluice.vision.triton.channel import Channel, connect
from tests.support.name_server import Names
from tests.support.tritons import HOSTS, free_ports
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NAME = "triton.test"


class Server(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
    """Answers questions for a model's configuration, and counts them."""

    def __init__(self) -> None:
        self.calls = 0
        self.lacks_the_model = False

    def ModelConfig(self, request: Any, context: Any) -> Any:  # noqa: N802 the protocol's name
        self.calls += 1
        if self.lacks_the_model:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown model")
        return service_pb2.ModelConfigResponse()


@contextmanager
def _serving(host: str, port: int, server: Server) -> Iterator[None]:
    with futures.ThreadPoolExecutor(4) as pool:
        running = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(server, running)
        running.add_insecure_port(f"{host}:{port}")
        running.start()
        try:
            yield
        finally:
            running.stop(0).wait()


def _ask(channel: Channel) -> None:
    channel.call("codes", lambda client: client.get_model_config("codes", client_timeout=5))


def test_the_only_server_that_is_left_gets_the_calls_although_it_was_passed_over() -> None:
    """A roll-out, and then the others end."""
    servers = [Server() for _ in HOSTS]
    (port,) = free_ports(1)
    names = Names()
    names.addresses[NAME] = list(HOSTS)
    url = f"dns://127.0.0.1:{names.port}/{NAME}:{port}"
    channel = Channel(partial(connect, url, 5.0))
    left = servers[1]

    def is_passed_over() -> bool:
        before = left.calls
        for _ in range(6):
            with suppress(UnknownModel):
                _ask(channel)
        time.sleep(0.1)
        return left.calls == before

    try:
        with _serving(HOSTS[1], port, left):
            with _serving(HOSTS[0], port, servers[0]), _serving(HOSTS[2], port, servers[2]):
                until(lambda: all(server.calls for server in servers) or _ask(channel), 30)
                left.lacks_the_model = True
                until(is_passed_over, 30)
                left.lacks_the_model = False
            failed, before = 0, left.calls
            for _ in range(60):
                try:
                    _ask(channel)
                except TritonUnavailable:
                    failed += 1
            assert failed <= 2, "only calls on their way to a server that ends may fail"
            assert left.calls - before >= 58
    finally:
        channel.close()
        names.close()
