"""A collector of traces that receives OTLP over HTTP, and prints each trace as a tree.

`python -m tests.support.otlp` listens on the default port of OTLP, and prints trees until Ctrl-C.
"""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PORT = 4318
_QUIET_S = 6.0
"""Processes send spans every 5 s. A trace without news for longer is whole."""


class ReceivedSpan(NamedTuple):
    """One span, with its ids in hexadecimal."""

    service: str
    trace_id: str
    span_id: str
    parent_id: str
    name: str
    start_ns: int
    end_ns: int
    attributes: Mapping[str, object]
    links: tuple[str, ...]
    """Ids of the linked spans."""
    error: str
    """Empty where the span has no error."""


class Collector:
    """The spans that have arrived at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._spans: list[ReceivedSpan] = []
        self._lock = threading.Lock()

    def spans(self, trace_id: str | None = None) -> list[ReceivedSpan]:
        with self._lock:
            return [span for span in self._spans if trace_id in (None, span.trace_id)]

    def add(self, body: bytes) -> None:
        received = list(_read(body))
        with self._lock:
            self._spans += received


@contextmanager
def collecting(port: int = 0) -> Iterator[Collector]:
    """Receive spans on 127.0.0.1."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.add(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write nothing for each request."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()


def tree(spans: Sequence[ReceivedSpan]) -> str:
    """One trace as a tree: start and length in milliseconds, service, name and attributes."""
    children: dict[str, list[ReceivedSpan]] = defaultdict(list)
    known = {span.span_id for span in spans}
    for span in sorted(spans, key=lambda span: span.start_ns):
        children[span.parent_id if span.parent_id in known else ""].append(span)
    first_ns = min(span.start_ns for span in spans)
    lines = [f"trace {spans[0].trace_id}"]

    def add(parent_id: str, depth: int) -> None:
        for span in children[parent_id]:
            lines.append(_line(span, first_ns, depth))
            add(span.span_id, depth + 1)

    add("", 0)
    return "\n".join(lines)


def _line(span: ReceivedSpan, first_ns: int, depth: int) -> str:
    start_ms = (span.start_ns - first_ns) / 1e6
    length_ms = (span.end_ns - span.start_ns) / 1e6
    name = f"{'  ' * depth}{span.name}"
    more = [
        str(span.attributes.get("sluice.attempt", "")),
        *(f"link {link}" for link in span.links),
    ]
    more += [f"error {span.error}"] if span.error else []
    text = " ".join(filter(None, more))
    return f"{start_ms:10.1f} {length_ms:9.1f} ms  {span.service:<18} {name} {text}".rstrip()


def _read(body: bytes) -> Iterator[ReceivedSpan]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        names = {entry.key: entry.value.string_value for entry in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield ReceivedSpan(
                    service=names["service.name"],
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    name=span.name,
                    start_ns=span.start_time_unix_nano,
                    end_ns=span.end_time_unix_nano,
                    attributes={
                        entry.key: getattr(entry.value, str(entry.value.WhichOneof("value")))
                        for entry in span.attributes
                    },
                    links=tuple(link.span_id.hex() for link in span.links),
                    error=span.status.message,
                )


def main() -> None:
    """Print each trace once no span of it has come for some seconds."""
    with collecting(PORT) as collector:
        sys.stdout.write(f"listening on {collector.url}\n")
        seen: dict[str, tuple[int, float]] = {}
        while True:
            time.sleep(1)
            by_trace: dict[str, list[ReceivedSpan]] = defaultdict(list)
            for span in collector.spans():
                by_trace[span.trace_id].append(span)
            for trace_id, spans in by_trace.items():
                count, since = seen.get(trace_id, (0, time.monotonic()))
                if count != len(spans):
                    seen[trace_id] = (len(spans), time.monotonic())
                elif 0 < time.monotonic() - since - _QUIET_S < 1:
                    sys.stdout.write(f"{tree(spans)}\n\n")
                    sys.stdout.flush()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(0)
