"""A message's traceparent goes through the outbox to the tick that counts it, if tracing is on."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pika
import psycopg
import pytest
import redis
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from services.ingest import core
from services.ingest.commit_pacing import CommitPacing
from services.ingest.writer import Writer
from shared import tracing
from shared.health import Health
from shared.transaction_body import Limits
from tests.support import ledger, messages, ops_tool, servers
from tests.support.eventually import eventually
from tests.support.messages import body, received, rows

SELECT_KEPT = "SELECT amount::int, traceparent FROM outbox ORDER BY amount"


def traceparent(number: int) -> str:
    return f"00-{number:032x}-{number:016x}-01"


def kept(conn: psycopg.Connection) -> list[tuple[int, str | None]]:
    return conn.execute(SELECT_KEPT).fetchall()


def linked(span: ReadableSpan) -> list[int]:
    return sorted(link.context.trace_id for link in span.links)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.configure(on=True, provider=provider)
    yield exporter
    tracing.configure(on=False)


@pytest.mark.parametrize("setting", ["on", "off"])
def test_ingest_keeps_traceparents_if_it_is_told_to_and_stores_the_same_rows_if_not(
    dsn: str, conn: psycopg.Connection, amqp_url: str, setting: str
) -> None:
    messages.add_providers(conn)
    with messages.channel(amqp_url) as producer:
        producer.queue_declare(messages.QUEUE, durable=True)
        for value, headers in enumerate(
            [None, {"traceparent": traceparent(1)}, {"traceparent": "nonsense\0"}], start=1
        ):
            properties = pika.BasicProperties(delivery_mode=2, headers=headers)
            producer.basic_publish("", messages.QUEUE, body(1, value), properties)
    with messages.ingest(dsn, amqp_url, TRACING=setting):
        eventually(lambda: len(rows(conn)) == 3)
    expected = traceparent(1) if setting == "on" else None
    assert [row for row in kept(conn) if row[0] < 100] == [(1, None), (2, expected), (3, None)]
    assert rows(conn) == [(1, 1), (1, 2), (1, 3)]


def test_a_message_that_waited_keeps_its_traceparent(
    dsn: str, conn: psycopg.Connection, spans: InMemorySpanExporter
) -> None:
    with messages.ingest_connection(dsn) as ours:
        wait(
            ours,
            {"traceparent": traceparent(1)},
            {"traceparent": "nonsense"},
            {"traceparent": 7},
            {},
        )
        messages.add_providers(conn)
        assert messages.release_parked(ours) == 4
    assert [row for row in kept(conn) if row[0] < 100] == [
        (1, traceparent(1)), (2, None), (3, None), (4, None),
    ]  # fmt: skip
    assert messages.dead_letters(conn) == []
    assert spans.get_finished_spans() == ()


@pytest.mark.parametrize("setting", ["on", "off"])
def test_a_replayed_message_keeps_its_traceparent_if_the_tool_is_told_to(
    dsn: str, conn: psycopg.Connection, setting: str
) -> None:
    messages.add_providers(conn)
    headers = {"traceparent": traceparent(1), "other": b"x"}
    with messages.ingest_connection(dsn) as ours:
        messages.store_batch(ours, [received(b"unfit", "m1", headers=headers)])
    replay = ("dead-letters", "replay", "1", "--body", body(1, 5).decode())
    assert ops_tool.deployment(dsn).json(*replay, TRACING=setting)["rows"] == 1
    expected = traceparent(1) if setting == "on" else None
    assert [row for row in kept(conn) if row[0] < 100] == [(5, expected)]


def wait(conn: psycopg.Connection, *headers: dict[str, object]) -> None:
    """Store messages of values 1, 2, … for a provider that is not there."""
    batch = [
        received(body(1, value), f"m{value}", tag=value, headers=each)
        for value, each in enumerate(headers, start=1)
    ]
    assert messages.store_batch(conn, batch).dead == {"unknown_provider": len(batch)}


def test_the_tick_links_to_the_producers_of_the_rows_that_it_counts_and_of_no_others(
    dsn: str,
    conn: psycopg.Connection,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    spans: InMemorySpanExporter,
) -> None:
    messages.add_providers(conn)
    with (
        messages.ingest_connection(dsn) as ours,
        ledger.syncing(dsn, keydb_server.url()) as syncer,
    ):
        store_traced(ours, 1, 2)
        syncer.fold()
        store_traced(ours, 3)
        ledger.add(conn, 1, 5)  # by hand, of no trace
        syncer.tick(ledger.minute(1))
        store_traced(ours, 4)
        syncer.tick(ledger.minute(2))
        syncer.tick(ledger.minute(2))
    ledger.assert_right(conn, store)
    ticks = [one for one in spans.get_finished_spans() if one.name == "tick"]
    assert [linked(one) for one in ticks[:2]] == [[1, 2, 3], [4]]
    assert ticks[0].attributes == {"boundary": ledger.minute(1).strftime("%Y-%m-%dT%H:%M:%SZ")}
    published = [one for one in spans.get_finished_spans() if one.name == "publish"]
    assert [one.parent.span_id for one in published if one.parent] == [
        one.context.span_id for one in ticks[:2]
    ]


def store_traced(conn: psycopg.Connection, *numbers: int) -> None:
    batch = [
        received(body(1, number), f"m{number}", headers={"traceparent": traceparent(number)})
        for number in numbers
    ]
    assert messages.store_batch(conn, batch).inserted == len(numbers)


def test_a_batch_is_a_span_that_links_to_its_messages(
    dsn: str, conn: psycopg.Connection, spans: InMemorySpanExporter
) -> None:
    messages.add_providers(conn)
    with messages.ingest_connection(dsn) as ours:
        writer = Writer(
            lambda: messages.ingest_connection(dsn),
            messages.rules(ours),
            CommitPacing(60),
            Health(),
            threading.Event(),
        )
        channel = messages.FakeChannel()
        for tag, headers in enumerate([{"traceparent": traceparent(7)}, None], start=1):
            message = received(body(1, tag), tag=tag, headers=headers)
            channel.receive(core.validate(message, Limits(1000), "property"))
        writer.backlog = channel.backlog
        writer.run_once(ours)
    (span,) = spans.get_finished_spans()
    assert (span.name, span.attributes, linked(span)) == ("store batch", {"messages": 2}, [7])
    assert channel.acknowledged == [2]


def test_every_partition_of_the_outbox_has_the_column_also_one_made_later(
    conn: psycopg.Connection,
) -> None:
    later = datetime(2040, 1, 1, tzinfo=UTC)
    conn.execute("SELECT minutebook_make_partition(%s)", [later])
    without = """
    SELECT inhrelid::regclass::text
      FROM pg_inherits
     WHERE inhparent = 'outbox'::regclass
       AND NOT EXISTS (SELECT FROM pg_attribute
                        WHERE attrelid = inhrelid
                          AND attname = 'traceparent')
    """
    assert conn.execute(without).fetchall() == []
    (partitions,) = conn.execute(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'outbox'::regclass"
    ).fetchone() or (0,)
    assert partitions >= 3
