"""What a page is worth: what costs the most is asked once, however many pages are looked at."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, cast

import psycopg
import pytest

from ops.console.balance_store import Last
from ops.console.worth import Valuer
from shared.errors import Unavailable
from shared.ledger import valuation
from shared.ledger.valuation import Total

TICK = Last(7, datetime(2026, 11, 20, 23, 42, tzinfo=UTC), "1:1:", None, None, None)
PAGES = 6
TIMEOUT_S = 30.0
TOTALS = [Total("EUR", "7", 1)]


class Conn:
    """Knows of one symbol; all pages are past that question before the first one goes on."""

    def __init__(self) -> None:
        self._together = threading.Barrier(PAGES)

    def execute(self, _query: str, _params: dict[str, Any]) -> "Conn":
        self._together.wait(TIMEOUT_S)
        return self

    def fetchall(self) -> list[tuple[int]]:
        return [(1,)]


class Totals:
    """Are slow, and count how often they are asked; the first time they may fail."""

    def __init__(self) -> None:
        self.asked = 0
        self.fails = False
        self._pause = threading.Event()

    def of_symbols(self, *_: object) -> list[Total]:
        self.asked += 1
        self._pause.wait(0.3)
        if self.fails:
            raise Unavailable("postgres", "lost")
        return TOTALS


@pytest.fixture
def totals(monkeypatch: pytest.MonkeyPatch) -> Totals:
    found = Totals()
    monkeypatch.setattr(valuation, "values", lambda *_: [])
    monkeypatch.setattr(valuation, "totals_of_symbols", found.of_symbols)
    return found


def ask(valuer: Valuer) -> Sequence[Sequence[Total] | str]:
    conn = cast("psycopg.Connection", Conn())

    def one(_: int) -> Sequence[Total] | str:
        try:
            worth = valuer.worth(conn, [], TICK)
        except Unavailable as error:
            return str(error)
        return worth.totals if worth else []

    with ThreadPoolExecutor(PAGES) as threads:
        return list(threads.map(one, range(PAGES)))


def test_pages_that_are_looked_at_together_ask_for_the_totals_once(totals: Totals) -> None:
    assert ask(Valuer()) == [TOTALS] * PAGES
    assert totals.asked == 1


def test_totals_that_could_not_be_read_are_asked_for_again(totals: Totals) -> None:
    valuer = Valuer()
    totals.fails = True
    assert "lost" in ask(valuer)[0]
    totals.fails = False

    assert ask(valuer) == [TOTALS] * PAGES
