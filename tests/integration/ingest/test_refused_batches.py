"""A batch that is refused or held up is kept, and tried again with what came behind it."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.support import gated_writer, locks, messages, refusing_trigger
from tests.support.eventually import eventually
from tests.support.gated_writer import GATED, MANY, GatedWriter, gate_closed, some, values
from tests.support.messages import counted, dead_letters, rows, truth


@pytest.fixture
def gated(dsn: str, conn: psycopg.Connection) -> Iterator[GatedWriter]:
    with gated_writer.at_work(dsn, conn) as gated:
        yield gated


@pytest.mark.parametrize("comes", ["before", "after"])
def test_one_that_is_refused_alone_gets_company_from_what_comes_behind_it(
    gated: GatedWriter, dsn: str, conn: psycopg.Connection, comes: str
) -> None:
    # Alone it cannot be told from a Postgres that refuses everything.
    refusing_trigger.create(conn, "P0002", where="NEW.transaction_value = 1")
    with gate_closed(dsn):
        gated.receive(*some(GATED, 1))
        locks.awaited(conn)
        if comes == "before":
            gated.receive(b"{", *some(2, 3 * MANY))
    if comes == "after":
        eventually(lambda: "writer" in gated.health.problems())
        gated.receive(b"{", *some(2, 3 * MANY))
    eventually(lambda: gated.acknowledged() == 2 + 3 * MANY, 30)
    assert values(conn) == list(range(2, 2 + 3 * MANY))
    assert sorted(reason for reason, *_ in dead_letters(conn)) == [
        "not_json",
        "refused_by_database",
    ]
    assert counted(conn) == truth(conn)


def test_when_the_channel_is_lost_before_the_commit_the_batch_is_left_to_the_broker(
    gated: GatedWriter, dsn: str, conn: psycopg.Connection
) -> None:
    # Without identities: what is stored and comes again would be stored again.
    with gate_closed(dsn):
        gated.receive(*some(GATED, 2 * MANY), named=False)
        locks.awaited(conn)
        gated.channel.backlog.close()
    again = messages.FakeChannel()
    gated.writer.backlog = again.backlog
    again.receive(messages.validated(messages.body(1, 5), "m5", tag=1))
    eventually(lambda: again.acknowledged == [1])
    assert (rows(conn), gated.channel.acknowledged) == ([(1, 5)], [])
