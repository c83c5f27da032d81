"""Change records of prices, and what they leave behind."""

import json
from typing import Any

import psycopg

from services.notifier import prices
from tests.support.alert_records import HANDLERS

QUEUE = prices.QUEUE
EURO: dict[str, Any] = {
    "symbol": "EUR", "currency": "USD", "day": "2026-11-28", "price": "1.0842",
}  # fmt: skip


def record(
    operation: object = "ADDED",
    price: object = EURO,
    *,
    version: object = None,
    source_id: object = "A",
    **more: object,
) -> bytes:
    """Return a record as a source writes it; `more` are other fields, None leaves one out."""
    fields = {"operation": operation, "source": "ecb", "source_id": source_id}
    fields |= {"version": version, "price": price} | more
    return json.dumps({name: one for name, one in fields.items() if one is not None}).encode()


def costs(price: object, **more: object) -> dict[str, Any]:
    """Return the euro's price at another rate, or on another day."""
    return EURO | {"price": price} | more


def apply(conn: psycopg.Connection, *bodies: bytes) -> list[str]:
    """Act upon records as the worker does; returns what each led to."""
    outcomes: list[str] = []
    for body in bodies:
        with conn.transaction():
            outcomes.append(HANDLERS[QUEUE](conn, body))
    return outcomes


def stored(conn: psycopg.Connection) -> dict[str, tuple[str, str]]:
    """Return day and price of each price by its name."""
    return {
        name: (day, price)
        for name, day, price in conn.execute(
            "SELECT source_id, day::text, price::text FROM price WHERE symbol IS NOT NULL"
        )
    }
