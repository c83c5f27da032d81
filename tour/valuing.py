"""What a balance is worth: its symbol, a price by message, and the value by HTTP.

The symbol and the price are the tour's own, and gone with it.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, LiteralString

import httpx
import pika
import psycopg
from pika.exceptions import UnroutableError

from demo import example
from demo.failure import DemoFailed
from demo.screen import Screen
from tour.checks import until
from tour.gateway import answer

PRICES = "prices"
SYMBOL, CURRENCY, SCALE, PRICE = "TOUR", "EUR", 2, "1.25"
ASSIGN: LiteralString = """
INSERT INTO provider_symbol (provider_id, symbol, scale)
VALUES (%(provider_id)s, %(symbol)s, %(scale)s)
ON CONFLICT (provider_id) DO UPDATE
   SET symbol = excluded.symbol,
       scale = excluded.scale
"""
SELECT_SYMBOL: LiteralString = """
SELECT symbol, scale
  FROM provider_symbol
 WHERE provider_id = %(provider_id)s
"""
UNASSIGN: LiteralString = "DELETE FROM provider_symbol WHERE provider_id = %(provider_id)s"


def check_value(
    screen: Screen,
    conn: psycopg.Connection,
    connection: pika.BlockingConnection,
    http: httpx.Client,
    balance: str,
) -> None:
    """Publish a price, wait until it is known, and ask what the balance is worth."""
    worth = Decimal(balance).scaleb(-SCALE) * Decimal(PRICE)

    def known() -> bool:
        found = _value(http)
        return found is not None and Decimal(found) == worth

    with _assigned(conn), _priced(connection):
        screen.say(f"published to {PRICES}: 1 {SYMBOL} is {PRICE} {CURRENCY}")
        until(known, f"GET /v1/valuation does not say {worth} {CURRENCY}")
        screen.say(f"GET /v1/valuation?in={CURRENCY}: {example.PROVIDER} is worth {_value(http)}")


def _value(http: httpx.Client) -> str | None:
    found = answer(http.get("/v1/valuation", params={"in": CURRENCY}))["providers"]
    values: list[str | None] = [
        one["value"] for one in found if one["provider_id"] == example.PROVIDER
    ]
    return values[0] if values else None


@contextmanager
def _assigned(conn: psycopg.Connection) -> Iterator[None]:
    """Say what the balance is in; what was said before is said again afterwards."""
    ours = {"provider_id": example.PROVIDER, "symbol": SYMBOL, "scale": SCALE}
    before = conn.execute(SELECT_SYMBOL, ours).fetchone()
    conn.execute(ASSIGN, ours)
    try:
        yield
    finally:
        if before:
            conn.execute(ASSIGN, ours | {"symbol": before[0], "scale": before[1]})
        else:
            conn.execute(UNASSIGN, ours)


@contextmanager
def _priced(connection: pika.BlockingConnection) -> Iterator[None]:
    """Have a price from today on; it is removed afterwards."""
    price = {
        "symbol": SYMBOL, "currency": CURRENCY, "price": PRICE,
        "day": str(datetime.now(UTC).date()),
    }  # fmt: skip
    _publish(connection, {"operation": "ADDED", "price": price})
    try:
        yield
    finally:
        _publish(connection, {"operation": "REMOVED"})


def _publish(connection: pika.BlockingConnection, record: dict[str, Any]) -> None:
    channel = connection.channel()
    channel.confirm_delivery()
    body = json.dumps(record | {"source": "tour", "source_id": SYMBOL}).encode()
    try:
        channel.basic_publish(
            "", PRICES, body, pika.BasicProperties(delivery_mode=2), mandatory=True
        )
    except UnroutableError as error:
        raise DemoFailed(f"there is no queue {PRICES}; see 'make logs'") from error
    channel.close()
