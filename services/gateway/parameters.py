"""What stands in paths and queries: providers, times, steps, places to go on from. Pure."""

import base64
import binascii
import re
from datetime import UTC, date, datetime, timedelta

from services.gateway.problems import Problem
from shared import price
from shared.shard import ONLY, Shard
from shared.transaction_body import INT64_MAX, INT64_MIN
from shared.unfit import Unfit

PROVIDER = re.compile(r"(-?[0-9]{1,19})(_.*)?", re.ASCII | re.DOTALL)
TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?([Zz]|[+-][0-9]{2}:[0-9]{2})",
    re.ASCII,
)
"""RFC 3339: with a time zone, to the second or finer."""
SECONDS = re.compile(r"([0-9]{1,6})(s|m|h|d)?", re.ASCII)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def provider(text: str, shard: Shard = ONLY) -> int:
    """Return the id in `1` or `1_Visa`, of a provider of this shard. Raises `Problem`."""
    found = PROVIDER.fullmatch(text)
    if found is None or not INT64_MIN <= int(found[1]) <= INT64_MAX:
        raise _unfit("provider", "neither a provider's id nor its key (1, or 1_Visa)")
    check_shard(int(found[1]), shard)
    return int(found[1])


def check_shard(provider_id: int, shard: Shard) -> None:
    """Raise `Problem` for a provider of another shard: another gateway has it."""
    if not shard.has(provider_id):
        raise Problem(422, "wrong_shard", shard.refusal(provider_id))


def time(name: str, text: str | None) -> datetime | None:
    """Return a time in UTC; None where there is none. Raises `Problem`."""
    if text is None:
        return None
    error = _unfit(name, "no time of RFC 3339, such as 2026-11-20T23:42:00Z")
    if not TIME.fullmatch(text):
        raise error
    try:
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise error from None


def day(name: str, text: str | None) -> date | None:
    """Return a day; None where there is none. Raises `Problem`."""
    try:
        return None if text is None else price.day(text, name)
    except Unfit:
        raise _unfit(name, "no day, such as 2026-11-28") from None


def currency(name: str, text: str | None) -> str | None:
    """Return a currency's code; None where there is none. Raises `Problem`."""
    try:
        return None if text is None else price.currency(text)
    except Unfit:
        raise _unfit(name, "no currency, such as EUR") from None


def step(text: str | None, default_s: int) -> timedelta:
    """Return a span of `60`, `60s`, `15m`, `1h` or `1d`. Raises `Problem`."""
    if text is None:
        return timedelta(seconds=default_s)
    found = SECONDS.fullmatch(text)
    if found is None or not int(found[1]):
        raise _unfit("step", "no span, such as 60, 60s, 15m, 1h")
    return timedelta(seconds=int(found[1]) * UNITS[found[2] or "s"])


def cursor(*parts: object) -> str:
    """Return a place in a list, to go on from."""
    return base64.urlsafe_b64encode("\n".join(map(str, parts)).encode()).decode().rstrip("=")


def place(text: str | None, number: int) -> list[str] | None:
    """Return the parts of a cursor; None where there is none. Raises `Problem`."""
    if text is None:
        return None
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        parts = base64.b64decode(padded, altchars=b"-_", validate=True).decode().split("\n")
    except (UnicodeError, binascii.Error):
        parts = []
    if len(parts) != number:
        raise _unfit("cursor", "not one that was given")
    return parts


def whole(name: str, text: str) -> int:
    """Return an integer of a cursor. Raises `Problem`."""
    try:
        found = int(text)
    except ValueError:
        found = INT64_MAX + 1
    if not INT64_MIN <= found <= INT64_MAX:
        raise _unfit(name, "not one that was given")
    return found


def _unfit(name: str, error: str) -> Problem:
    errors = [{"parameter": name, "error": error}]
    return Problem(422, "invalid_parameter", f"{name}: {error}", errors=errors)
