"""Which keys are ours is read together with the watermark, or a store of another life misleads."""

import psycopg
import redis

from services.syncer.core import ObservedWatermark
from services.syncer.projection import KEYS_KEY, WATERMARK_KEY, Projection
from shared import keydb
from tests.support import ledger, servers
from tests.support.ledger import minute


class Emptied(Projection):
    """Reads which keys are ours while the store is empty, which shows the same as before again."""

    def __init__(self, client: keydb.Client, server: servers.Keydb) -> None:
        super().__init__(client)
        self._server: servers.Keydb | None = server

    def keys(self, found: ObservedWatermark) -> set[str]:
        server, self._server = self._server, None
        if server is None:
            return super().keys(found)
        put_back = ledger.dump(server)
        ledger.flush(server)()
        try:
            return super().keys(found)
        finally:
            put_back()


def test_names_read_from_a_store_that_was_empty_meanwhile_are_not_believed(
    dsn: str, conn: psycopg.Connection, store: "redis.Redis", keydb_server: servers.Keydb
) -> None:
    ledger.add_provider(conn, "Visa", 1000)
    store.mset({"1_Visa": "-1", "7_Gone": "7"})
    store.sadd(KEYS_KEY, "1_Visa", "7_Gone")
    store.hset(WATERMARK_KEY, mapping={"epoch": "40", "token": "of a lost tick"})
    url = keydb_server.url()
    with (
        ledger.keydb_client(url) as client,
        ledger.syncer_of(dsn, Emptied(client, keydb_server)) as syncer,
    ):
        assert syncer.tick(minute(1)).state == "applied"  # at the second attempt
    ledger.assert_right(conn, store)
