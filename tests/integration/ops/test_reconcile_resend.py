"""A KeyDB that differs gives up its watermark: the next tick sends it everything."""

import psycopg
import pytest
import redis

from ops.repair import corrections
from services.syncer.core import PARTIAL_PREFIX, ObservedWatermark
from services.syncer.projection import KEYS_KEY, Projection
from services.syncer.service import Syncer
from shared import keydb
from shared.errors import Unavailable
from tests.support import ledger, servers
from tests.support.ledger import minute

BECAUSE = "keys were overwritten"


@pytest.mark.parametrize(
    "command",
    [
        ("SET", "1_Visa", "1"),
        ("DEL", "1_Visa"),
        ("SADD", KEYS_KEY, "9_Gone"),
        ("SREM", KEYS_KEY, "1_Visa"),
        ("DEL", KEYS_KEY),
    ],
)
def test_a_store_that_differs_is_sent_everything_at_the_next_tick_and_never_goes_back(
    conn: psycopg.Connection,
    store: "redis.Redis",
    syncer: Syncer,
    projection: Projection,
    command: tuple[str, ...],
) -> None:
    store.execute_command(*command)  # type: ignore[no-untyped-call]
    shown = ledger.watermark(store)
    done = corrections.repair(conn, projection, reason=BECAUSE)
    assert (done.corrections, done.resending) == ((), True)
    epoch, token = ledger.watermark(store)
    assert (epoch, token.startswith(PARTIAL_PREFIX)) == (shown[0], True)
    assert syncer.publisher.publish().state == "waiting_for_next_tick"
    syncer.tick(minute(2))
    assert int(ledger.watermark(store)[0]) == int(epoch) + 1
    ledger.assert_right(conn, store)


class Overtaken(Projection):
    """A tick is published, so many times, just before the watermark is given up."""

    def __init__(self, client: keydb.Client, syncer: Syncer, *, times: int) -> None:
        super().__init__(client)
        self._syncer = syncer
        self._left = times

    def invalidate_watermark(self, observed: ObservedWatermark) -> ObservedWatermark | None:
        if self._left:
            self._left -= 1
            self._syncer.tick(minute(100 - self._left))
        return super().invalidate_watermark(observed)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_tick_published_meanwhile_is_given_up_instead(
    conn: psycopg.Connection,
    store: "redis.Redis",
    syncer: Syncer,
    keydb_server: servers.Keydb,
    *,
    times: int,
) -> None:
    store.set("1_Visa", "1")
    with ledger.keydb_client(keydb_server.url()) as client:
        overtaken = Overtaken(client, syncer, times=times)
        if times < corrections.ATTEMPTS_MAX:
            assert corrections.repair(conn, overtaken, reason=BECAUSE).resending
        else:
            with pytest.raises(Unavailable, match="every attempt"):
                corrections.repair(conn, overtaken, reason=BECAUSE)
            assert not ledger.watermark(store)[1].startswith(PARTIAL_PREFIX)
            corrections.repair(conn, overtaken, reason=BECAUSE)
    syncer.tick(minute(200))
    ledger.assert_right(conn, store)
