"""What of a message's trace context is kept, and that without TRACING there are no spans."""

import pytest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from shared import tracing

TRACE = f"{0xABC:032x}"
GOOD = f"00-{TRACE}-{0x12:016x}-01"


@pytest.mark.parametrize(
    "wrong",
    [
        None, 7, b"x", "", GOOD.upper(), GOOD + "-more", GOOD + "\n", f"ff{GOOD[2:]}",
        f"00-{0:032x}-{1:016x}-01", f"00-{1:032x}-{0:016x}-01", GOOD.encode(), "x" * 70_000,
    ],
)  # fmt: skip
def test_a_traceparent_that_is_not_well_formed_is_none(wrong: object) -> None:
    assert tracing.traceparent({"traceparent": wrong}) is None


def test_a_traceparent_is_kept_as_it_is() -> None:
    assert tracing.traceparent({"other": 1, "traceparent": GOOD}) == GOOD
    assert tracing.traceparent({}) is None
    assert tracing.traceparent(None) is None


def test_off_is_the_default_and_makes_no_span() -> None:
    assert not tracing.on()
    with tracing.span("store batch") as span:
        tracing.link(span, [GOOD])
        assert not span.is_recording()


def test_a_span_links_to_each_traceparent_once_and_to_so_many_at_most() -> None:
    exporter = InMemorySpanExporter()
    # The SDK's own limit is not what is tested.
    limits = SpanLimits(max_links=1000)
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.configure(on=True, provider=provider)
    try:
        with tracing.span("tick", {"rows": 2}) as span:
            tracing.link(span, [GOOD, None, GOOD])
        with tracing.span("tick") as span:
            tracing.link(span, (f"00-{number:032x}-{1:016x}-01" for number in range(1, 200)))
    finally:
        tracing.configure(on=False)

    one, many = exporter.get_finished_spans()
    assert [f"{link.context.trace_id:032x}" for link in one.links] == [TRACE]
    assert one.links[0].context.span_id == 0x12
    assert one.attributes == {"rows": 2}
    assert len(many.links) == tracing.LINKS_MAX
