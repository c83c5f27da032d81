"""Spans by OpenTelemetry's API: off unless TRACING is on, and then as real as the SDK beside it.

A producer's `traceparent` (W3C Trace Context) goes with its transaction through the outbox, so that
the tick which counts it can be linked to it. Off, a batch or a tick costs a few microseconds.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.trace import NoOpTracer, Span, Tracer, TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

HEADER = "traceparent"
TRACEPARENT = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)
LINKS_MAX = 128
"""Links of one span, at most: what OpenTelemetry's own limit is by default."""


@dataclass
class _Chosen:
    on: bool = False
    tracer: Tracer = NoOpTracer()  # noqa: RUF009 - it has no state


_chosen = _Chosen()


def configure(*, on: bool, provider: TracerProvider | None = None) -> None:
    """Turn tracing on or off for this process.

    Where spans go is the affair of the SDK beside it (OTEL_*), or of `provider`.
    """
    _chosen.on = on
    _chosen.tracer = trace.get_tracer("minutebook", None, provider) if on else NoOpTracer()


def on() -> bool:
    """Say whether anything is traced."""
    return _chosen.on


def traceparent(headers: Mapping[str, object] | None) -> str | None:
    """Return the `traceparent` of a message's headers; one that is not well-formed is none."""
    found = headers.get(HEADER) if headers else None
    return found if isinstance(found, str) and TRACEPARENT.fullmatch(found) else None


def span(
    name: str, attributes: Mapping[str, str | int] | None = None
) -> AbstractContextManager[Span]:
    """Open a span inside the current one; an error that ends it is noted on it."""
    return _chosen.tracer.start_as_current_span(name, attributes=attributes)


def link(opened: Span, traceparents: Iterable[str | None]) -> None:
    """Link a span to the spans that `traceparents` name: each once, up to a limit."""
    distinct = [one for one in dict.fromkeys(traceparents) if one is not None]
    for one in distinct[:LINKS_MAX]:
        context = TraceContextTextMapPropagator().extract({HEADER: one})
        opened.add_link(trace.get_current_span(context).get_span_context())
