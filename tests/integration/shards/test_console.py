"""The console of one shard: its verdict is about all."""

import psycopg
import redis

from tests.support import console_page, keydb_rights, servers, shards
from tests.support.eventually import eventually
from tests.support.ledger import minute
from tests.support.shards import Pipeline

LOST = "shard 1, postgres"


def test_what_is_wrong_with_another_shard_is_among_the_findings_of_each_console(
    pair: tuple[Pipeline, Pipeline],
    store: "redis.Redis",
    keydb_server: servers.Keydb,
    postgres_server: servers.Postgres,
) -> None:
    for pipeline in pair:
        with shards.syncing(pipeline, keydb_server) as syncer:
            syncer.tick(minute(1))
    zero, one = pair
    given = {
        "KEYDB_URL": keydb_server.url(keydb_rights.OPERATOR),
        "SHARD_DSNS": " ".join(shard.environment["POSTGRES_DSN"] for shard in pair),
    }
    with (
        psycopg.connect(postgres_server.dsn("postgres"), autocommit=True) as admin,
        console_page.running(zero.environment, **given) as console,
    ):
        assert LOST not in console.text("verdict")
        one.conn.close()
        with shards.postgres_down(admin, one):
            eventually(lambda: LOST in console.text("verdict"))
        found = console_page.rows_of(console.html())
    assert found == {"2_Visa": "1000", "-4_Amex": "1000"}
    assert store.get("1_Mastercard") == "1000"
