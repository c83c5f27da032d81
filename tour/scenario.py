"""The tour, step by step. What each part says is held against what the others say."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

import httpx
import psycopg

from demo import example, scenario, servers, stack
from demo.failure import DemoFailed
from demo.screen import Screen
from shared.unique_ids import time_ordered
from tour import gateway, sightings, valuing
from tour.checks import TIMEOUT_S, same, until
from tour.gateway import answer
from tour.queues import Document, Message, Queues

FOLLOWERS = ("feed", "notifier", "tracker")
SELECT_FOLLOWING: LiteralString = """
SELECT count(*) = cardinality(%(names)s::text[])
  FROM follower
 WHERE name = ANY (%(names)s)
   AND error IS NULL
"""


@dataclass(frozen=True, slots=True)
class Sent:
    """What the tour sent: the request's key, and the balance before it."""

    key: str
    before: int

    @property
    def message_id(self) -> str:
        """The identity of its only item."""
        return f"{self.key}:0"

    @property
    def after(self) -> str:
        """What the balance is to be."""
        return str(self.before + example.VALUE)


def run(screen: Screen) -> None:
    """Do it all. Raises `DemoFailed` unless everything says what it should."""
    configuration = stack.configuration()
    token = gateway.token(configuration)
    containers = scenario.start(screen, configuration)
    reached = servers.find(configuration, containers)
    interval_s = int(configuration.setting("ticker", "TICK_INTERVAL_SECONDS"))
    with (
        reached.connect_postgres() as conn,
        reached.connect_keydb() as keydb,
        reached.connect_rabbitmq() as connection,
        gateway.client(token, containers) as http,
    ):
        scenario.load(screen, conn)
        await_followers(screen, conn, interval_s)
        before = example.truth(conn)
        queues = Queues(connection)
        sent = Sent(f"tour-{time_ordered()}", before.balances[before.key])
        add_alert(screen, http, sent)
        post(screen, http, queues, sent)
        shown_before = example.shown(keydb, [before.key])
        shown_after = scenario.await_tick(screen, keydb, [before.key], interval_s)
        request = check_request(screen, http, queues, sent)
        check_life(screen, http, sent, request)
        check_notification(screen, queues, sent, request)
        check_events(screen, queues, sent, request)
        check_balance(screen, http, sent)
        valuing.check_value(screen, conn, connection, http, sent.after)
        screen.balances(shown_before, shown_after, {before.key: int(sent.after)})
        if shown_after.balances[before.key] != sent.after:
            raise DemoFailed(f"KeyDB's {before.key} is not {sent.after}: did others send, too?")
        remove_alert(http, sent)
        with sightings.api(configuration) as is_asked:
            if is_asked:
                sightings.check(screen, http, conn, keydb)
    screen.places(places(gateway.address(containers), sent, containers))
    screen.verdict(f"all say the same: {before.key} is {sent.after}")


def await_followers(screen: Screen, conn: psycopg.Connection, interval_s: int) -> None:
    """Wait until each follower has its first tick: it tells what ticks after that count."""

    def following() -> bool:
        found = conn.execute(SELECT_FOLLOWING, {"names": list(FOLLOWERS)}).fetchone()
        return found == (True,)

    screen.say(f"waiting until {', '.join(FOLLOWERS)} follow the ticks")
    until(following, "not all follow the ticks", interval_s + TIMEOUT_S)


def add_alert(screen: Screen, http: httpx.Client, sent: Sent) -> None:
    """Ask to be told when the balance rises above what it is now."""
    threshold = str(sent.before + example.VALUE // 2)
    alert = {"provider_id": example.PROVIDER, "condition": "above", "threshold": threshold}
    body = {"source": "tour", "source_id": sent.key, "alert": alert}
    answer(http.post("/v1/alerts", json=body), 202)
    names = {"source": "tour", "source_id": sent.key}
    until(lambda: answer(http.get("/v1/alerts", params=names))["alerts"], "the alert is not there")
    screen.say(f"POST /v1/alerts: tell when provider {example.PROVIDER} is above {threshold}")


def post(screen: Screen, http: httpx.Client, queues: Queues, sent: Sent) -> None:
    """Send the transaction, twice under one key, and wait for its row."""
    headers = {
        "Content-Type": "application/json",
        "Idempotency-Key": sent.key,
        "Reply-To": queues.replies,
        "Correlation-Id": sent.key,
    }
    # Twice, as a client does that got no answer.
    answer(http.post("/v1/transactions", content=example.BODY, headers=headers), 202)
    response = http.post("/v1/transactions", content=example.BODY, headers=headers)
    answer(response, 202)
    place = response.headers["location"]
    screen.say(f"POST /v1/transactions {example.BODY.decode()}, twice under one key: 202, {place}")
    until(lambda: stored(http, sent), "the transaction is not stored")
    screen.say(f"GET {place}: 1 item, 1 stored")


def stored(http: httpx.Client, sent: Sent) -> bool:
    """Say whether the request is known and its item is a row."""
    response = http.get(f"/v1/requests/{sent.key}")
    return response.status_code != httpx.codes.NOT_FOUND and answer(response)["stored"] == 1


def check_request(screen: Screen, http: httpx.Client, queues: Queues, sent: Sent) -> Document:
    """Wait for the reply; return the request, which says the same."""

    def ours(message: Message) -> bool:
        return message[0].correlation_id == sent.key

    _, reply = queues.await_message(queues.replies, "reply", ours, TIMEOUT_S)
    request: Document = answer(http.get(f"/v1/requests/{sent.key}"))
    same("the reply", reply, {"request": sent.key, "state": "done", "items": 1, "stored": 1})
    same("the request", request, {name: reply[name] for name in ("state", "stored", "counted_by")})
    screen.say(f"reply: {reply['state']}, counted by the tick {reply['counted_by']}")
    return request


def check_life(screen: Screen, http: httpx.Client, sent: Sent, request: Document) -> None:
    """Ask for the transaction's life: counted by the tick that the request names, and shown."""
    life = answer(http.get(f"/v1/transactions/{sent.message_id}"))
    wanted = {
        "message_id": sent.message_id, "state": "shown", "boundary": request["counted_by"],
    }  # fmt: skip
    same("the transaction's life", life, wanted)
    screen.say(f"GET /v1/transactions/{sent.message_id}: {life['state']}")


def check_notification(screen: Screen, queues: Queues, sent: Sent, request: Document) -> None:
    """Wait for what the alert tells."""

    def ours(message: Message) -> bool:
        return message[1].get("source_id") == sent.key

    _, told = queues.await_message(queues.notifications, "notification", ours, TIMEOUT_S)
    same("the notification", told, {"balance": sent.after, "tick": request["counted_by"]})
    screen.say(f"notification: {told['key']} is {told['balance']}, above {told['threshold']}")


def check_events(screen: Screen, queues: Queues, sent: Sent, request: Document) -> None:
    """Wait for the events of the tick, to its `tick.closed`."""
    seen: list[Document] = []

    def closes(message: Message) -> bool:
        seen.append(message[1])
        return message[1]["event"] == "tick.closed" and any(map(is_ours, seen))

    def is_ours(event: Document) -> bool:
        return event.get("message_id") == sent.message_id

    _, closed = queues.await_message(
        queues.events, "tick.closed with the change", closes, TIMEOUT_S
    )
    tick = request["counted_by"]
    added = [one for one in seen if is_ours(one)]
    changed = [
        one
        for one in seen
        if one["event"] == "balance.changed"
        and one["provider_id"] == example.PROVIDER
        and one["epoch"] == closed["epoch"]
    ]
    same("tick.closed", closed, {"tick": tick})
    same("transaction.added", added[0], {"amount": str(example.VALUE), "tick": tick})
    if len(added) != 1 or not changed:
        raise DemoFailed(f"events: {len(added)} of the transaction, {len(changed)} of the balance")
    # Null where the tick is the first that knows the provider.
    previous = str(sent.before) if changed[-1]["previous"] else None
    same("balance.changed", changed[-1], {"balance": sent.after, "previous": previous})
    screen.say(
        f"events: transaction.added {added[0]['amount']},"
        f" balance.changed to {changed[-1]['balance']}, tick.closed"
    )


def check_balance(screen: Screen, http: httpx.Client, sent: Sent) -> None:
    """Ask for the balance."""
    found = answer(http.get(f"/v1/balances/{example.PROVIDER}"))
    same("the balance", found, {"balance": sent.after})
    screen.say(f"GET /v1/balances/{example.PROVIDER}: {found['balance']}")


def remove_alert(http: httpx.Client, sent: Sent) -> None:
    """Leave no alert behind."""
    names = {"source": "tour", "source_id": sent.key}
    answer(http.delete("/v1/alerts", params=names), 202)


def places(
    address: str, sent: Sent, containers: list[stack.Container]
) -> Iterator[tuple[str, str]]:
    """Yield where to look next: what, and where."""
    yield "the HTTP API, to read", f"{address}/docs"
    yield "the request", f"{address}/v1/requests/{sent.key} (with the token)"
    yield "the request, by ops", f"docker compose run --rm ops requests show {sent.key}"
    yield "the transaction", f"docker compose run --rm ops find {sent.message_id}"
    yield "ticks, as they are shown", f"{address}/v1/ticks/stream (with the token)"
    yield from scenario.places(containers)
