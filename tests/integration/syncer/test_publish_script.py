"""The outcomes of the script, and what it leaves alone."""

from collections.abc import Iterator

import pytest
import redis

from services.syncer.core import ObservedWatermark, Publication, Watermark, parse_watermark
from services.syncer.projection import KEYS_KEY, SCRIPT, WATERMARK_KEY, Projection, WatermarkChanged
from shared import keydb
from tests.support import ledger, servers
from tests.support.tcp_proxy import proxying

FIRST = Watermark(1, "one", "2020-01-01T00:01:00Z")
SECOND = Watermark(2, "two", "2020-01-01T00:02:00Z")
NOTHING = parse_watermark("", "", "")

pytestmark = servers.on_both_stores


@pytest.fixture
def client(store: "redis.Redis", keydb_server: servers.Keydb) -> Iterator[keydb.Client]:
    with ledger.keydb_client(keydb_server.url()) as client:
        yield client


@pytest.fixture
def projection(client: keydb.Client) -> Projection:
    return Projection(client)


def shows(mark: Watermark) -> ObservedWatermark:
    return ObservedWatermark(str(mark.epoch), mark.token, mark)


def publication(
    found: ObservedWatermark,
    target: Watermark,
    values: dict[str, str],
    removals: tuple[str, ...] = (),
) -> Publication:
    return Publication(found, target, values, removals, "next")


def test_applied_sets_values_removes_keys_and_moves_the_watermark(
    projection: Projection, store: "redis.Redis"
) -> None:
    first = projection.apply(publication(NOTHING, FIRST, {"1_a": "1", "2_b": "2"}))
    second = projection.apply(publication(shows(FIRST), SECOND, {"1_a": "5"}, ("2_b",)))
    assert (first.outcome, second.outcome) == ("applied", "applied")
    assert ledger.shown(store) == {"1_a": "5"}
    assert store.smembers(KEYS_KEY) == {"1_a"}
    assert projection.read().watermark == SECOND
    assert second.applied_at_s >= first.applied_at_s > 1_700_000_000


def test_the_watermark_says_when_it_was_applied_by_the_stores_clock(
    projection: Projection, store: "redis.Redis"
) -> None:
    result = projection.apply(publication(NOTHING, FIRST, {}))
    fields = ["applied_at_s", "applied_at", "boundary"]
    applied_at_s, applied_at, boundary = map(str, store.hmget(WATERMARK_KEY, fields))
    assert float(applied_at_s) == result.applied_at_s
    assert boundary == FIRST.boundary
    seconds, micros = applied_at_s.split(".")
    assert applied_at == ledger.rfc3339_micros(int(seconds), int(micros))


def test_the_same_again_is_done_and_changes_nothing(
    projection: Projection, store: "redis.Redis"
) -> None:
    first = projection.apply(publication(NOTHING, FIRST, {"1_a": "1"}))
    store.set("1_a", "changed by hand")
    again = projection.apply(publication(NOTHING, FIRST, {"1_a": "1"}))
    assert again.outcome == "done"
    assert again.applied_at_s == first.applied_at_s
    assert store.get("1_a") == "changed by hand"


@pytest.mark.parametrize(
    "read",
    [
        NOTHING,
        shows(Watermark(1, "other")),
        shows(Watermark(2, "one")),
        parse_watermark("1", "", ""),
        parse_watermark("01", "one", ""),
    ],
)
def test_another_watermark_than_the_one_read_is_fenced_and_changes_nothing(
    projection: Projection, store: "redis.Redis", read: ObservedWatermark
) -> None:
    projection.apply(publication(NOTHING, FIRST, {"1_a": "1"}))
    result = projection.apply(publication(read, SECOND, {"1_a": "9", "2_b": "2"}, ("1_a",)))
    assert result.outcome == "fenced"
    assert ledger.shown(store) == {"1_a": "1"}
    assert store.smembers(KEYS_KEY) == {"1_a"}
    assert projection.read().watermark == FIRST


def test_a_fenced_writer_is_told_so(client: keydb.Client) -> None:
    script = client.register_script(SCRIPT)
    keys = [WATERMARK_KEY, KEYS_KEY]
    script(keys=keys, args=["", "", "1", "one", "b", "", 0])
    assert script(keys=keys, args=["", "", "2", "two", "b", "", 0]) == ["fenced", ""]


def test_more_keys_than_luas_stack_holds_are_set_and_removed(
    projection: Projection, store: "redis.Redis"
) -> None:
    values = {f"{number}_p": str(number) for number in range(20_001)}
    assert projection.apply(publication(NOTHING, FIRST, values)).outcome == "applied"
    assert store.scard(KEYS_KEY) == len(values)
    assert store.mget(list(values)) == list(values.values())
    assert projection.apply(publication(shows(FIRST), SECOND, {}, tuple(values))).outcome == (
        "applied"
    )
    assert store.dbsize() == 1


def test_a_lost_reply_and_the_clients_own_retry_apply_once(
    projection: Projection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    projection.apply(publication(NOTHING, FIRST, {"1_a": "1"}))  # the script is loaded
    applications = calls(store, "hset")
    with (
        proxying(keydb_server.url()) as (proxy, url),
        ledger.keydb_client(url) as client,
    ):
        proxy.lose_reply_to(b"EVALSHA")
        result = Projection(client).apply(publication(shows(FIRST), SECOND, {"1_a": "5"}))
        assert proxy.cuts == 1
    assert result.outcome == "done"
    assert calls(store, "hset") == applications + 1
    assert store.hget(WATERMARK_KEY, "applied_at_s") == f"{result.applied_at_s:.6f}"
    assert ledger.shown(store) == {"1_a": "5"}


def calls(store: "redis.Redis", command: str) -> int:
    stats: dict[str, dict[str, int]] = store.info("commandstats")
    return stats.get(f"cmdstat_{command}", {"calls": 0})["calls"]


@pytest.mark.parametrize("key", [WATERMARK_KEY, KEYS_KEY])
def test_bookkeeping_of_a_wrong_type_counts_as_missing_and_is_replaced(
    projection: Projection, store: "redis.Redis", key: str
) -> None:
    store.set(key, "someone was here")
    found = projection.read()
    assert (found, projection.keys(found)) == (NOTHING, set())
    assert projection.apply(publication(found, FIRST, {"1_a": "1"})).outcome == "applied"
    assert projection.read().watermark == FIRST
    assert projection.keys(projection.read()) == {"1_a"}
    with pytest.raises(WatermarkChanged):
        projection.keys(found)


def test_a_key_of_a_wrong_type_is_replaced_by_its_value(
    projection: Projection, store: "redis.Redis"
) -> None:
    store.rpush("1_a", "x")
    projection.apply(publication(NOTHING, FIRST, {"1_a": "1"}))
    assert store.get("1_a") == "1"
