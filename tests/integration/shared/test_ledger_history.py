"""Balances as of any past minute, against what a reference noted at that minute."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest

from services.syncer import retention, tick_store
from services.syncer.partitions import Kept
from shared.errors import Unanswerable
from shared.ledger import balance_page, history
from tests.support import ledger
from tests.support.ledger import add, minute

TICKS = 60
EXPLAIN: LiteralString = "EXPLAIN (ANALYZE, FORMAT JSON) "


def reads(conn: psycopg.Connection) -> set[str]:
    """Return by which of its two ways all balances are found now."""
    rows = conn.execute(EXPLAIN + history.SELECT_BALANCES, {"at": minute(3000)}).fetchall()
    return {
        one["Node Type"]
        for one in plans(rows[0][0][0]["Plan"])
        if one["Actual Rows"] and one["Node Type"] in ("Recursive Union", "Unique")
    }


def tick(conn: psycopg.Connection, number: int) -> None:
    with conn.transaction():
        tick_store.lock_ticks(conn)
        ledger.tick_within(conn, minute(number))


def change(conn: psycopg.Connection, dice: random.Random) -> None:
    """Do something to some provider: a row, a rename, a new one, the end of one."""
    ids = [number for (number,) in conn.execute("SELECT id FROM initial_data ORDER BY id")]
    what = dice.choice(["row", "row", "row", "rename", "new", "gone"]) if ids else "new"
    if what == "new":
        ledger.add_provider(conn, f"p{dice.random()}", dice.randint(-9, 9))
    elif what == "rename":
        query = "UPDATE initial_data SET provider_name = %s WHERE id = %s"
        conn.execute(query, [f"r{dice.random()}", dice.choice(ids)])
    elif what == "gone":
        one = [dice.choice(ids)]
        conn.execute("DELETE FROM historical_transactions WHERE provider_id = %s", one)
        conn.execute("DELETE FROM initial_data WHERE id = %s", one)
    else:
        add(conn, dice.choice(ids), dice.randint(-100, 100))


@pytest.fixture
def noted(conn: psycopg.Connection) -> dict[int, dict[str, int]]:
    """What was true at each even minute of a varied past, from the user's tables alone."""
    dice = random.Random(7)
    notes = {}
    for number in range(2, 2 * TICKS + 1, 2):
        for _ in range(dice.randint(0, 6)):
            change(conn, dice)
        tick(conn, number)
        notes[number] = {key: int(value) for key, value in ledger.truth(conn).items()}
    return notes


def assert_as_noted(
    conn: psycopg.Connection, notes: dict[int, dict[str, int]], *, oldest: int
) -> None:
    last = {int(key.partition("_")[0]) for note in notes.values() for key in note}
    for number, note in notes.items():
        if number < oldest:
            continue
        for late in (timedelta(0), timedelta(minutes=1, seconds=59)):
            past = history.balances_at(conn, minute(number) + late)
            assert (past.boundary, past.balances) == (minute(number), note)
        for provider in last:
            one = history.balance_at(conn, provider, minute(number))
            expected = {k: v for k, v in note.items() if k.partition("_")[0] == str(provider)}
            key, value = next(iter(expected.items()), (None, None))
            assert (one.key, one.balance) == (key, value)


@pytest.mark.parametrize("jumping", [False, True], ids=["few-rows-each", "many-rows-each"])
def test_every_past_minute_is_as_it_was_noted_then(
    conn: psycopg.Connection, noted: dict[int, dict[str, int]], *, jumping: bool
) -> None:
    estimate(conn, jumping=jumping)
    assert reads(conn) == {"Recursive Union" if jumping else "Unique"}
    assert any(noted.values())
    assert_as_noted(conn, noted, oldest=0)


def estimate(conn: psycopg.Connection, *, jumping: bool) -> None:
    """Have the catalogue say that there are many balances per provider, or few."""
    conn.execute("ALTER TABLE balance ALTER provider_id SET (n_distinct = 20)")
    conn.execute("ANALYZE balance")
    conn.execute(
        "UPDATE pg_class SET reltuples = %s WHERE oid = 'balance'::regclass",
        [10_000_000 if jumping else 10],
    )


@pytest.mark.parametrize("jumping", [False, True], ids=["few-rows-each", "many-rows-each"])
def test_after_pruning_the_rest_is_as_noted_and_before_it_an_error_names_the_oldest_time(
    conn: psycopg.Connection, noted: dict[int, dict[str, int]], *, jumping: bool
) -> None:
    estimate(conn, jumping=jumping)
    gone = 2 * TICKS // 3
    query = "UPDATE tick SET folded_at = now() - interval '31 days' WHERE boundary < %s"
    conn.execute(query, [minute(gone)])
    conn.execute("UPDATE tick SET folded_at = now() - interval '31 days' WHERE boundary IS NULL")
    assert retention.run_once(conn, Kept(24, 30)).pruned >= gone // 2
    assert_as_noted(conn, noted, oldest=gone)
    for ask in (lambda at: history.balances_at(conn, at), lambda at: past_of(conn, at)):
        with pytest.raises(Unanswerable, match="2020-01-01T00:40:00Z"):
            ask(minute(gone) - timedelta(seconds=1))


def past_of(conn: psycopg.Connection, at: datetime) -> history.PastBalance:
    return history.balance_at(conn, 1, at)


class Disturbed(psycopg.Connection):
    """Something happens after each of its statements."""

    disturb: Callable[[], object]

    def execute(self, *given: Any, **how: Any) -> psycopg.Cursor[Any]:
        found = super().execute(*given, **how)
        self.disturb()
        return found


def test_a_page_is_whole_although_its_tick_is_pruned_as_it_is_read(
    conn: psycopg.Connection, dsn: str
) -> None:
    for name in ("Visa", "Mastercard"):
        ledger.add_provider(conn, name, 1000)
    tick(conn, 1)
    add(conn, 1, 600)
    tick(conn, 2)
    conn.execute("UPDATE tick SET folded_at = now() - interval '31 days' WHERE epoch < 2")
    with Disturbed.connect(dsn, autocommit=True) as ours:
        ours.disturb = lambda: retention.run_once(conn, Kept(24, 30))
        page = balance_page.page(ours, minute(1), most=10)

    assert [(one.key, one.balance) for one in page.balances] == [
        ("1_Visa", "1000"), ("2_Mastercard", "1000"),
    ]  # fmt: skip
    with pytest.raises(Unanswerable):
        balance_page.page(conn, minute(1), most=10)


def test_before_the_first_tick_there_is_no_answer(conn: psycopg.Connection) -> None:
    with pytest.raises(Unanswerable, match="no tick"):
        history.balances_at(conn, minute(1))
    ledger.add_provider(conn, "Visa", 1000)
    tick(conn, 1)
    with pytest.raises(Unanswerable, match="2020-01-01T00:01:00Z"):
        past_of(conn, minute(0))
    assert past_of(conn, datetime.now(UTC)).balance == 1000


def test_a_time_without_a_zone_is_refused(conn: psycopg.Connection) -> None:
    with pytest.raises(ValueError, match="time zone"):
        past_of(conn, minute(1).replace(tzinfo=None))


def plans(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(below for child in node.get("Plans", ()) for below in plans(child))]


@pytest.fixture
def busy(conn: psycopg.Connection) -> None:
    """Five thousand ticks, of each of which fifty providers of two hundred have a balance."""
    conn.execute(
        "INSERT INTO initial_data (provider_name, initial_value)"
        " SELECT 'p' || n, 0 FROM generate_series(1, 200) n"
    )
    conn.execute(
        "INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)"
        " SELECT n, n::text, '2020-01-01Z'::timestamptz + make_interval(mins => n),"
        " pg_current_snapshot(), 0, 0, 0 FROM generate_series(1, 5000) n"
    )
    conn.execute(
        "INSERT INTO balance (provider_id, epoch, key, key_changed, balance)"
        " SELECT p, e, p || '_p' || p, false, e FROM generate_series(1, 5000) e,"
        " LATERAL (SELECT 1 + (e * 50 + n) % 200 AS p FROM generate_series(0, 49) n) AS one"
    )


@pytest.mark.parametrize("statistics", [False, True], ids=["never-analysed", "analysed"])
@pytest.mark.parametrize("options", ["", "-c plan_cache_mode=force_custom_plan"])
@pytest.mark.usefixtures("busy")
def test_with_thousands_of_ticks_a_balance_is_a_few_index_entries(
    conn: psycopg.Connection, *, statistics: bool, options: str
) -> None:
    if statistics:
        conn.execute("ANALYZE")
    if options:
        conn.execute("SET plan_cache_mode = force_custom_plan")
    assert past_of(conn, minute(3000)).balance in range(2996, 3001)
    rows = conn.execute(
        EXPLAIN + history.SELECT_BALANCE, {"provider_id": 1, "at": minute(3000)}
    ).fetchall()
    scans = [one for one in plans(rows[0][0][0]["Plan"]) if "Scan" in one["Node Type"]]
    assert {one.get("Relation Name") for one in scans} >= {"tick", "balance"}
    for one in scans:
        assert one["Node Type"] in ("Index Scan", "Index Only Scan", "Subquery Scan")
        assert one["Actual Rows"] <= 1


@pytest.mark.usefixtures("busy")
def test_all_balances_cost_what_the_providers_are_and_not_what_is_kept(
    conn: psycopg.Connection,
) -> None:
    conn.execute("ANALYZE")
    assert len(history.balances_at(conn, minute(3000)).balances) == 200
    rows = conn.execute(EXPLAIN + history.SELECT_BALANCES, {"at": minute(3000)}).fetchall()
    nodes = plans(rows[0][0][0]["Plan"])
    assert not [one for one in nodes if one["Node Type"] == "Seq Scan" and one["Actual Loops"]
                and one["Relation Name"] in ("tick", "balance")]  # fmt: skip
    read = [one["Actual Rows"] * one["Actual Loops"] for one in nodes
            if one.get("Relation Name") == "balance"]  # fmt: skip
    assert sum(read) <= 3 * 200
