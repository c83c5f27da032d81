"""One pipeline becomes two shards, by the runbook's script: nothing is lost, doubled or hidden."""

from collections.abc import Callable, Iterator

import docker
import psycopg
import pytest
import redis

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from shared.shard import Shard
from tests.support import alert_records, containers, ledger, messages, servers, shards
from tests.support.containers import LABEL, ROOT
from tests.support.ledger import add_provider, minute
from tests.support.messages import body, received
from tests.support.shards import Pipeline

SCRIPT = (ROOT / "deploy" / "shards" / "split.sh").read_text(encoding="utf-8")
STORE_DEAD_LETTER = """
INSERT INTO dead_letter (message_id, body, properties, queue, reason, error, state)
VALUES (%(queue)s, '{"object_id": 7}', '{}', %(queue)s, 'missing_field', '', 'open')
"""
SELECT_QUEUES = "SELECT queue FROM dead_letter ORDER BY message_id"
Split = Callable[..., tuple[int, str]]


@pytest.fixture
def split(engine: docker.DockerClient, postgres_server: servers.Postgres) -> Split:
    """Run the script where psql is; returns its exit code and what it said."""
    (server,) = (
        one
        for one in engine.containers.list(filters={"label": LABEL}, ignore_removed=True)
        if containers.address(one) == postgres_server.address
    )

    def run(old: str, new: str, count: str = "2", number: str = "1") -> tuple[int, str]:
        place = f"{postgres_server.host}:{postgres_server.port}/"
        given = [where.replace(place, "127.0.0.1:5432/") for where in (old, new)]
        done = server.exec_run(["bash", "-c", SCRIPT, "split.sh", *given, count, number])
        assert isinstance(done.output, bytes)
        return done.exit_code or 0, done.output.decode()

    return run


@pytest.fixture
def new(postgres_server: servers.Postgres) -> Iterator[psycopg.Connection]:
    """The database of the shard that is added."""
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        yield conn


def pipeline(conn: psycopg.Connection, number: int, keydb: servers.Keydb) -> Pipeline:
    environment = {
        "POSTGRES_DSN": where(conn),
        "RABBITMQ_URL": "amqp://nobody:nothing@127.0.0.1:9/%2F",
        "KEYDB_URL": keydb.url(),
        "SHARD": f"{number}/2",
    }
    return Pipeline(Shard(number, 2), environment, conn)


def where(conn: psycopg.Connection) -> str:
    """Return the URL of a connection's database."""
    of = conn.info
    return f"postgresql://{of.user}:{of.password}@{of.host}:{of.port}/{of.dbname}"


def test_half_of_the_providers_move_and_readers_see_every_balance_all_the_time(
    conn: psycopg.Connection,
    new: psycopg.Connection,
    split: Split,
    store: "redis.Redis",
    keydb_server: servers.Keydb,
) -> None:
    dsn = where(conn)
    for name in ("Visa", "Mastercard", "Amex", "Diners"):
        add_provider(conn, name, 1000)
    sent = [received(body(n % 4 + 1, n), f"m-{n}") for n in range(40)]
    with messages.ingest_connection(dsn) as ingest:
        messages.store_batch(ingest, [*sent, received(body(7, 5), "early")])
    conn.execute("DELETE FROM historical_transactions WHERE message_id = 'm-0'")
    with ledger.syncing(dsn, keydb_server.url()) as syncer:
        assert split(dsn, where(new))[0] == 1  # no tick has counted it all
        assert ledger.truth(new) == {}
        syncer.tick(minute(1))
    before = ledger.shown(store)

    code, said = split(dsn, where(new))
    store.delete(WATERMARK_KEY, KEYS_KEY)

    assert code == 0, said
    zero, one = (pipeline(at, number, keydb_server) for number, at in enumerate((conn, new)))
    for shard in (zero, one):
        with shards.syncing(shard, keydb_server) as syncer:
            syncer.tick(minute(2))
        assert ledger.shown(store) == before
    assert shards.truth(zero, one) == before
    assert zero.keys(store) == {"2_Mastercard", "4_Diners"}
    assert one.keys(store) == {"1_Visa", "3_Amex"}
    assert [shard.ops("reconcile").code for shard in (zero, one)] == [0, 0]
    # What the broker delivers again is known where it is now, also what was deleted by hand.
    moved = [message._replace(redelivered=True) for message in sent if b'"id": 1,' in message.body]
    with messages.ingest_connection(where(new)) as ingest:
        again = messages.store_batch(ingest, moved)
    assert (again.inserted, again.duplicates) == (0, len(moved))
    assert again.messages() == len(moved)
    assert new.execute("SELECT message_id, queue FROM dead_letter").fetchall() == [
        ("early", "incoming_transactions.1")
    ]
    with shards.syncing(one, keydb_server) as syncer:
        ledger.add(new, 1, 5)
        syncer.tick(minute(3))
    assert store.get("1_Visa") == str(int(before["1_Visa"]) + 5)
    assert split(dsn, where(new))[0] == 1  # it has providers already
    assert shards.truth(zero, one) == ledger.shown(store)


def test_symbols_move_with_their_providers_and_each_shard_has_all_prices(
    conn: psycopg.Connection,
    new: psycopg.Connection,
    split: Split,
    keydb_server: servers.Keydb,
) -> None:
    for name in ("Visa", "Mastercard", "Amex"):
        add_provider(conn, name, 1000)
    conn.execute("INSERT INTO provider_symbol VALUES (1, 'EUR', 2), (2, 'EUR', 2)")
    conn.execute(
        "INSERT INTO price (symbol, currency, day, price) VALUES ('EUR', 'USD', '2019-12-31', 1.10)"
    )
    with ledger.syncing(where(conn), keydb_server.url()) as syncer:
        syncer.tick(minute(1))

    code, said = split(where(conn), where(new))

    assert code == 0, said
    for at, provider in ((conn, 2), (new, 1)):
        assert at.execute("SELECT * FROM provider_symbol").fetchall() == [(provider, "EUR", 2)]
    prices = [at.execute("SELECT price.*::text FROM price").fetchall() for at in (conn, new)]
    assert prices[0] == prices[1] != []
    one = pipeline(new, 1, keydb_server)
    with shards.syncing(one, keydb_server) as syncer:
        syncer.tick(minute(2))
    worth = one.ops.json("value", "--in", "USD")
    assert [total["value"] for total in worth["totals"]] == ["11"]
    assert worth["not_valued"] == {"no_symbol": 1}


def test_an_alert_on_each_provider_is_to_be_sent_to_the_new_shard_again(
    conn: psycopg.Connection,
    new: psycopg.Connection,
    split: Split,
    keydb_server: servers.Keydb,
) -> None:
    add_provider(conn, "Visa", 1000)
    record = alert_records.record(alert=alert_records.EACH)
    alert_records.apply(conn, record)
    with ledger.syncing(where(conn), keydb_server.url()) as syncer:
        syncer.tick(minute(1))

    assert split(where(conn), where(new))[0] == 0

    def alerts(at: psycopg.Connection, number: int) -> list[str]:
        found = pipeline(at, number, keydb_server).ops.json("alert", "list", "--provider", "1")
        return [one["source_id"] for one in found["alerts"]]

    assert (alerts(conn, 0), alerts(new, 1)) == (["A"], [])
    assert alert_records.apply(new, record) == ["applied"]
    assert alerts(new, 1) == ["A"]


def test_dead_letters_are_replayed_to_the_queues_as_they_are_called_then(
    conn: psycopg.Connection,
    new: psycopg.Connection,
    split: Split,
    keydb_server: servers.Keydb,
) -> None:
    add_provider(conn, "Visa", 1000)
    for queue in ("alerts", "payments.2026", "sightings"):
        conn.execute(STORE_DEAD_LETTER, {"queue": queue})
    with ledger.syncing(where(conn), keydb_server.url()) as syncer:
        syncer.tick(minute(1))

    assert split(where(conn), where(new))[0] == 0

    queues = [("alerts.0",), ("payments.2026.0",), ("sightings",)]
    assert conn.execute(SELECT_QUEUES).fetchall() == queues
    done = pipeline(conn, 0, keydb_server).ops.json(
        "dead-letters", "replay", "--queue", "sightings"
    )
    assert done["applied"] == 1


def test_of_a_shard_that_is_split_again_the_names_have_the_new_number_in_place_of_the_old_one(
    conn: psycopg.Connection,
    new: psycopg.Connection,
    split: Split,
    keydb_server: servers.Keydb,
) -> None:
    conn.execute("INSERT INTO initial_data VALUES (1, 'Visa', 1000), (3, 'Amex', 1000)")
    for queue in ("payments.2026.1", "sightings"):
        conn.execute(STORE_DEAD_LETTER, {"queue": queue})
    conn.execute(
        "INSERT INTO dead_letter (message_id, body, properties, queue, reason, error, state,"
        " provider_id, value) VALUES ('early', '{}', '{}', 'payments.2026.1',"
        " 'unknown_provider', '', 'waiting', 7, 5)"
    )
    with ledger.syncing(where(conn), keydb_server.url()) as syncer:
        syncer.tick(minute(1))

    code, said = split(where(conn), where(new), "4", "3")

    assert code == 0, said
    assert conn.execute(SELECT_QUEUES).fetchall() == [("payments.2026.1",), ("sightings",)]
    assert new.execute(SELECT_QUEUES).fetchall() == [("payments.2026.3",)]
