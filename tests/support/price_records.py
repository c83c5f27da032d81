"""Change records of prices, and what they leave behind."""

from typing import Any

import psycopg

from services.notifier import prices
from tests.support import alert_records

QUEUE = prices.QUEUE
EURO: dict[str, Any] = {
    "symbol": "EUR", "currency": "USD", "day": "2026-11-28", "price": "1.0842",
}  # fmt: skip


def record(operation: object = "ADDED", price: object = EURO, **more: object) -> bytes:
    """Return a record as a source of prices writes it; `more` are other fields."""
    return alert_records.written({"operation": operation, "source": "ecb", "price": price} | more)


def costs(price: object, **more: object) -> dict[str, Any]:
    """Return the euro's price at another rate, or on another day."""
    return EURO | {"price": price} | more


def apply(conn: psycopg.Connection, *bodies: bytes) -> list[str]:
    """Act on records as the worker does; returns what each led to."""
    return alert_records.apply(conn, *bodies, queue=QUEUE)


def stored(conn: psycopg.Connection) -> dict[str, tuple[str, str]]:
    """Return day and price of each price by its name."""
    return {
        name: (day, price)
        for name, day, price in conn.execute(
            "SELECT source_id, day::text, price::text FROM price WHERE symbol IS NOT NULL"
        )
    }
