"""`traceparent` and `tracestate` by the W3C recommendation."""

import asyncio
import threading

import pytest

from sluice.tracing import TraceContext, current_context, current_trace_id, from_headers, parse, use
from sluice.tracing.context import parse_state

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"


def test_a_header_is_read_and_written_again() -> None:
    context = parse(HEADER, "congo=t61rcWkgMzE")
    assert context == TraceContext(TRACE, SPAN, sampled=True, state="congo=t61rcWkgMzE")
    assert context.headers() == {"traceparent": HEADER, "tracestate": "congo=t61rcWkgMzE"}


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("ff", True)]
)
def test_only_the_flag_sampled_counts(flags: str, sampled: bool) -> None:
    context = parse(f"00-{TRACE}-{SPAN}-{flags}")
    assert context
    assert context.sampled is sampled
    assert context.traceparent.endswith("-01" if sampled else "-00")


@pytest.mark.parametrize(
    "header",
    [
        "",
        HEADER.upper(),
        HEADER[:-1],
        HEADER + "-",
        HEADER + "-more",
        HEADER + "0",
        f"ff-{TRACE}-{SPAN}-01",
        f"0-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01.what",
        f"{HEADER}\n",
    ],
)
def test_an_invalid_header_is_none(header: str) -> None:
    assert parse(header) is None


def test_a_later_version_is_read_as_version_00() -> None:
    for header in (f"cc-{TRACE}-{SPAN}-01", f"cc-{TRACE}-{SPAN}-01-what"):
        context = parse(header)
        assert context
        assert context.traceparent == HEADER


@pytest.mark.parametrize(
    ("state", "kept"),
    [
        ("foo=1,bar=2", "foo=1,bar=2"),
        (" foo=1 \t, ,\tbar=2", "foo=1,bar=2"),
        ("a1@vendor=x", "a1@vendor=x"),
        ("foo=1,foo=2", ""),
        ("Foo=1", ""),
        ("foo=", ""),
        ("foo", ""),
        ("foo=a=b", ""),
        ("foo=\u00e9", ""),
        (f"{'k' * 257}=1", ""),
        (f"foo={'v' * 257}", ""),
        (f"{'t' * 242}@v=1", ""),
        (f"t@{'v' * 15}=1", ""),
        (",".join(f"k{number}=1" for number in range(33)), ""),
    ],
)
def test_a_state_is_kept_whole_or_dropped(state: str, kept: str) -> None:
    assert parse_state(state) == kept


def test_a_long_state_loses_long_members_first() -> None:
    short = [f"k{number}={'v' * 90}" for number in range(6)]
    kept = parse_state(",".join([f"long={'v' * 200}", *short]))
    assert kept == ",".join(short[:5])


def test_several_headers() -> None:
    parent, state = (b"traceparent", HEADER.encode()), (b"tracestate", b"a=1")
    context = from_headers([(b"host", b"x"), state, parent, (b"tracestate", b"b=2")])
    assert context
    assert context.state == "a=1,b=2"
    assert from_headers([parent, parent]) is None
    assert from_headers([state]) is None
    assert from_headers([(b"traceparent", b"\xff" * 55)]) is None


def test_a_derived_span_is_the_same_everywhere() -> None:
    context = parse(HEADER)
    assert context
    first, again = context.derived("attempt 1"), context.derived("attempt 1")
    assert first == again
    assert first.trace_id == TRACE
    assert len({first.span_id, context.derived("attempt 2").span_id, SPAN}) == 3


def test_the_current_span_is_one_of_each_thread_and_task() -> None:
    context = TraceContext(TRACE, SPAN, sampled=True)
    seen: list[TraceContext | None] = []
    with use(context):
        assert current_context() == context
        assert current_trace_id() is None  # a caller's span is not recorded here
        thread = threading.Thread(target=lambda: seen.append(current_context()))
        thread.start()
        thread.join()
        with use(context.child()):
            assert current_trace_id() == TRACE
        asyncio.run(_look(seen))
    assert seen == [None, context]
    assert current_context() is None


async def _look(seen: list[TraceContext | None]) -> None:
    seen.append(current_context())
