"""An act of a person: one transaction, answered within three seconds, done or undone.

Nothing is done until COMMIT is sent, and it is not sent once the person was told that nothing was
done. If COMMIT itself gets no answer, only Postgres knows what became of it: the answer says so and
leads to `/acts/XID`, which asks.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from threading import Lock
from typing import LiteralString

import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ops import deployment
from ops.console import session
from ops.console.settings import ConsoleSettings
from ops.console.showing import DEADLINE_S, LIMITS, Pages
from shared import postgres
from shared.errors import Refusal, StatementFailed, TooMuch, Unavailable
from shared.health import unwatched

UNDONE = (
    f"Nothing was done: it was not ready within {DEADLINE_S:g} s, and was given up. Postgres is"
    " slow or gives no answer, or there is too much to do at once."
)
FATES = {
    "committed": "It was done.",
    "aborted": "Nothing was done: Postgres has undone it.",
    "in progress": "Postgres has not decided yet",
    None: "It is too old: Postgres does not know any more. What operators did is on record.",
}

# What COMMIT would do may take long, and no limit of Postgres's ends it there.
FIRE_TRIGGERS: LiteralString = "SET CONSTRAINTS ALL IMMEDIATE"
SELECT_XID: LiteralString = "SELECT pg_current_xact_id()::text"
SELECT_FATE: LiteralString = "SELECT pg_xact_status(%(xid)s::xid8)"


class Act:
    """One act, in a thread of its own, and whether its person was answered meanwhile."""

    def __init__(self) -> None:
        """Nobody was answered."""
        self._lock = Lock()
        self._answered = False
        self._xid = ""

    def turn(self, wait_s: float) -> None:
        """Be told of each wait for Postgres. Raises `Unavailable` once the person was answered."""
        if wait_s and self._answered:
            raise Unavailable("postgres", "the time for it is over")

    @contextlib.contextmanager
    def transaction(self, conn: psycopg.Connection) -> Iterator[None]:
        """Have a transaction while inside; `conn` is one that tells `turn` of each wait."""
        with conn.transaction():
            yield
            conn.execute(FIRE_TRIGGERS)
            xid = postgres.scalar(conn, SELECT_XID)
            with self._lock:
                self._xid = xid

    def answer(self) -> str:
        """Note that the person is answered now; return the transaction that may be done, if any."""
        with self._lock:
            self._answered = True
            return self._xid


Do = Callable[[Request, FormData, Act], Response]
Within = Callable[[Do], session.Act]


class Acting:
    """Has acts done in time, and says what became of those that were not answered."""

    def __init__(self, chosen: ConsoleSettings, pages: Pages) -> None:
        """`pages` renders."""
        self._chosen = chosen
        self._pages = pages

    def routes(self) -> list[Route]:
        """Return where it is said what became of an act."""
        return [Route("/acts/{xid:id}", self._pages.reading(self._fate), methods=["GET"])]

    def within(self, do: Do) -> session.Act:
        """Return what does it in a thread, and answers in time whatever became of it."""

        async def endpoint(request: Request, form: FormData) -> Response:
            act = Act()
            try:
                async with asyncio.timeout(DEADLINE_S):
                    return await run_in_threadpool(do, request, form, act)
            except TimeoutError:
                return self._not_known(request, form, act.answer(), UNDONE)
            except (StatementFailed, Refusal) as error:
                return self._pages.excused(request, error)
            except Unavailable as error:
                undone = f"Nothing was done: {error.server} {error.state}: {error.detail}"
                is_its_word = isinstance(error, TooMuch)  # it undid what it says so of
                xid = "" if is_its_word else act.answer()
                return self._not_known(request, form, xid, undone)

        return endpoint

    def _not_known(self, request: Request, form: FormData, xid: str, undone: str) -> Response:
        if not xid:
            again = [(name, str(value)) for name, value in form.multi_items()]
            shown = {"says": undone, "path": request.url.path, "fields": again}
            return self._pages.show(request, "undone.html", shown, 503)
        values = {"xid": xid, "says": "Postgres gave no answer to COMMIT", "known": False}
        return self._pages.show(request, "act_fate.html", values, 503)

    def _fate(self, request: Request) -> Response:
        xid = str(request.path_params["xid"])
        with (
            deployment.postgres_connection(self._chosen, options=LIMITS, turn=unwatched) as conn,
            postgres.translating(),
        ):
            row = conn.execute(SELECT_FATE, {"xid": xid}).fetchone()
        fate = row[0] if row else None
        values = {"xid": xid, "says": FATES[fate], "known": fate != "in progress"}
        return self._pages.show(request, "act_fate.html", values)
