"""HTTP to one shard: what is its own goes all the way, what is another's is refused."""

from tests.support import http_gateway, messages, programs
from tests.support.eventually import eventually
from tests.support.http_gateway import problem
from tests.support.shards import Pipeline


def test_a_gateway_takes_its_own_shards_transactions_and_refuses_all_others(
    pair: tuple[Pipeline, Pipeline], amqp_url: str
) -> None:
    zero, _ = pair
    given = {name: zero.environment[name] for name in ("SHARD", "TICK_INTERVAL_SECONDS")}
    dsn = zero.environment["POSTGRES_DSN"]
    with http_gateway.queues(amqp_url, bound=False) as queues:
        queues.channel.queue_declare("requests.0", durable=True)
        queues.channel.queue_bind("requests.0", http_gateway.EXCHANGE, "requests.0")
        with (
            http_gateway.accepting(amqp_url, dsn, **given) as gateway,
            programs.running("services.tracker", **zero.environment),
            programs.running("services.ingest", **zero.environment),
        ):
            assert gateway.send({"id": 2, "value": 600}, {"id": -4, "value": 5}).status_code == 202
            eventually(lambda: messages.rows(zero.conn) == [(2, 600), (-4, 5)])

            anothers = gateway.send({"id": 2, "value": 600}, {"id": 1, "value": 5})
            assert problem(anothers) == (422, "wrong_shard")
            assert [(one["item"], one["reason"]) for one in anothers.json()["errors"]] == [
                (1, "wrong_shard")
            ]
            mixed = gateway.send({"id": 1, "value": 5}, {"id": 2})
            assert problem(mixed) == (422, "unfit_items")
            for path in ("balances/1", "alerts?provider=1", "notifications?provider=1_Visa"):
                asked = gateway.client.get(f"/v1/{path}")
                assert problem(asked) == (422, "wrong_shard")
            assert gateway.client.get("/v1/alerts?provider=2").json()["alerts"] == []
            alert = {"alert": {"provider_id": 1, "condition": "below", "threshold": "5"}}
            assert problem(gateway.client.post("/v1/alerts", json=alert)) == (422, "wrong_shard")
