"""Answers to questions that came by message: balances, what they are worth, a statement.

    {"request": "K", "ask": "balances", "provider": 1, "as_of": "2026-11-20T23:42:00Z"}
    {"request": "K", "ask": "valuation", "as_of": "2026-11-20", "in": "EUR"}
    {"request": "K", "ask": "statement", "provider": "1_Visa", "from": "…", "to": "…"}

`provider` is an id, or the key that KeyDB shows. Who asks what cannot be answered gets the reason.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import islice
from typing import Annotated, Any, LiteralString
from urllib.parse import urlencode

import msgspec
import psycopg

from services.tracker import core
from shared import change_record, postgres, price
from shared.errors import Refusal, StatementFailed, TooMuch, Unanswerable
from shared.ledger import balance_page, history, valuation
from shared.ledger.balance_page import ShownBalance
from shared.ledger.statement import statement
from shared.request_message import Request
from shared.unfit import Unfit

Fields = Mapping[str, Any]
Moment = Annotated[datetime, msgspec.Meta(tz=True)]
PROVIDER = re.compile(r"(-?[0-9]{1,19})(_|$)", re.ASCII)
"""An id, or a key of KeyDB, which begins with one."""
# As by HTTP. Who asks for so much keeps requests waiting.
LIMIT: LiteralString = "SET statement_timeout = '10s'"
NO_LIMIT: LiteralString = "RESET statement_timeout"
PATHS: dict[str, str] = {
    "balances": "/v1/balances",
    "statement": "/v1/balances/{}/statement",
    "valuation": "/v1/valuation",
}


def answer(conn: psycopg.Connection, request: Request) -> bytes:
    """Return the body of the reply; the caller's connection is at rest. Raises `Unavailable`.

    What Postgres gives up or refuses is answered so: asked again, it would keep requests waiting.
    """
    try:
        with postgres.translating(), _limited(conn):
            found = ANSWERS[request.kind](conn, request.question)
    except Unfit as unfit:
        return core.refusal(request.key, unfit.reason, unfit.error)
    except Unanswerable as error:
        return core.refusal(request.key, "unanswerable", str(error))
    except Refusal as refusal:
        return core.refusal(request.key, "not_found", str(refusal))
    except TooMuch as error:
        return core.refusal(request.key, "too_much", error.detail)
    except StatementFailed as error:
        return core.refusal(request.key, "unanswerable", error.detail)
    return core.answer(request.key, request.kind, found, location(request))


@contextlib.contextmanager
def _limited(conn: psycopg.Connection) -> Iterator[None]:
    conn.execute(LIMIT)
    try:
        yield
    finally:
        conn.execute(NO_LIMIT)


def location(request: Request) -> str:
    """Return where the same is answered by HTTP, whatever its size."""
    asked = {
        name: str(found)
        for name, found in request.question.items()
        if name in {"as_of", "from", "to", "in"} and found is not None
    }
    path = PATHS[request.kind]
    if request.kind == "statement":  # by id: a name may have any character
        path = path.format(_provider_id(request.question))
    return f"{path}?{urlencode(asked)}" if asked else path


def _balances(conn: psycopg.Connection, asked: Fields) -> Fields:
    return _balances_at(conn, asked, _moment(asked, "as_of") or datetime.now(UTC))


def _balances_at(conn: psycopg.Connection, asked: Fields, at: datetime) -> Fields:
    if asked.get("provider") is None:
        return _all_balances(conn, at)
    number = _provider_id(asked)
    one = history.balance_at(conn, number, at)
    tick = (one.boundary, one.epoch)
    shown = [] if one.key is None else [ShownBalance(number, one.key, str(one.balance), *tick)]
    return {"tick": one.boundary, "epoch": one.epoch, "balances": shown}


def _all_balances(conn: psycopg.Connection, at: datetime) -> Fields:
    """Return all of one tick, or more than fit into a reply: however many there are."""
    page = balance_page.page(conn, at, most=core.BALANCES_MAX)
    found = page.balances
    while page.after is not None and len(found) <= core.BALANCES_MAX:
        page = balance_page.page(
            conn, at, most=core.BALANCES_MAX, after=page.after, epoch=page.epoch
        )
        found = found + page.balances
    return {"tick": page.tick, "epoch": page.epoch, "balances": found}


def _statement(conn: psycopg.Connection, asked: Fields) -> Fields:
    until = _moment(asked, "to") or datetime.now(UTC)
    with postgres.translating(), conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        with statement(conn, _provider_id(asked), _moment(asked, "from"), until) as found:
            movements = list(islice(found.movements, core.MOVEMENTS_MAX + 1))
    return {
        "provider_id": found.provider_id,
        "opening": found.opening,
        "closing": found.closing,
        "movements": movements,
    }


def _valuation(conn: psycopg.Connection, asked: Fields) -> Fields:
    """Return values of all providers with their totals, or those of one."""
    day, currency = _day(asked), _currency(asked)
    with postgres.translating(), conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        today = valuation.today(conn)
        if day and day > today:
            raise Unfit("invalid_value", "as_of is in the future")
        day = day or today
        held = _balances_at(conn, asked, valuation.end_of(day))
        found = {
            "day": day,
            "currency": currency,
            "tick": held["tick"],
            "epoch": held["epoch"],
            "providers": valuation.values(conn, held["balances"], day, currency),
        }
        if asked.get("provider") is not None:
            return found
        summed = valuation.totals(conn, held["epoch"], day, currency)
    return {**found, "totals": summed.totals, "not_valued": summed.not_valued}


ANSWERS: dict[str, Callable[[psycopg.Connection, Fields], Fields]] = {
    "balances": _balances,
    "statement": _statement,
    "valuation": _valuation,
}


def _provider_id(asked: Fields) -> int:
    found = change_record.present(asked, "provider")
    if isinstance(found, str):
        number = PROVIDER.match(found)
        found = int(number[1]) if number else found
    return change_record.integer(found, "provider")


def _day(asked: Fields) -> date | None:
    found = asked.get("as_of")
    return None if found is None else price.day(str(found), "as_of")


def _currency(asked: Fields) -> str | None:
    found = asked.get("in")
    return None if found is None else price.currency(str(found))


def _moment(asked: Fields, name: str) -> datetime | None:
    found = asked.get(name)
    if found is None:
        return None
    try:
        return msgspec.convert(found, Moment).astimezone(UTC)
    except (msgspec.ValidationError, OverflowError) as error:
        said = f"{name} must be a time of RFC 3339 with its time zone"
        raise Unfit("invalid_value", said) from error
