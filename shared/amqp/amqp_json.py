"""AMQP properties as JSON for the dead letter: nothing lost, whatever a header holds.

What JSON or Postgres's jsonb cannot hold (bytes, NUL characters, lone surrogates, decimals, times,
NaN) becomes an object with one key that starts with `$` and says what it was. If two headers have
the same name, or names that are written the same, the second gets its place as a suffix (`h#5`).
"""

import base64
import json
import math
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal

from shared.amqp.properties import unused_name


def encode(properties: Mapping[str, object]) -> str:
    """Return the properties that are set, as a JSON object that jsonb accepts."""
    return json.dumps({name: _plain(value) for name, value in properties.items()})


def _plain(value: object) -> object:  # noqa: PLR0911 - one line per type
    if isinstance(value, str):
        return value if _storable(value) else {"$hex": _hex(value)}
    if isinstance(value, bytes | bytearray):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, Decimal):
        return {"$decimal": str(value)}
    if isinstance(value, datetime):
        return {"$timestamp": value.isoformat()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"$float": str(value)}
    if isinstance(value, dict):
        return _plain_table(value)
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, bool | int | float | None) else {"$other": repr(value)}


def _plain_table(table: Mapping[object, object]) -> dict[str, object]:
    found: dict[str, object] = {}
    for key, entry in table.items():  # two names may be written the same
        found[unused_name(found, _plain_key(key))] = _plain(entry)
    return found


def _plain_key(key: object) -> str:
    text = key if isinstance(key, str) else repr(key)
    return text if _storable(text) else f"$hex:{_hex(text)}"


def _hex(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").hex()


def _storable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text
