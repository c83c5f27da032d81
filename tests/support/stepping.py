"""A syncer that stops before every statement and command until it is told how to go on.

Two of them, moved step by step from one thread, run in any interleaving one likes, and each may
die, or find a server away, at any step. Production code knows nothing of it: what is passed to
`Syncer` is wrapped.
"""

import contextlib
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Literal, cast

import psycopg
from pydantic import Secret

from services.syncer import posting, store
from services.syncer.core import Found, Publication
from services.syncer.projection import Answer, Projection
from services.syncer.service import Syncer
from shared import keydb, postgres
from shared.errors import Unavailable
from shared.settings import PostgresSettings
from tests.support import ledger
from tests.support.eventually import PAUSE_S, eventually

Order = Literal["go", "die", "away"]
BLOCKED = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"


class Died(Exception):
    """The syncer was killed at this step."""


class Gate:
    """Where one thread waits for orders, and another sees where that one is."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._order: Order | None = None
        self.at = ""

    def stop(self, at: str) -> None:
        """Wait for an order before the step `at`. Called by the syncer's thread."""
        with self._changed:
            self.at = at
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._order is not None)
            order, self._order, self.at = self._order, None, ""
        if order == "die":
            raise Died
        if order == "away":
            raise Unavailable("keydb" if at.startswith("keydb") else "postgres", "cut by the test")

    def order(self, order: Order) -> None:
        """Give the order."""
        with self._changed:
            self._order, self.at = order, ""
            self._changed.notify_all()

    def reached(self, ended: Callable[[], bool]) -> bool:
        """Wait a little for the other thread to be at a gate, or at its end."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self.at) or ended(), PAUSE_S)

    def end(self, _ended: object) -> None:
        """Say that the other thread is at its end."""
        with self._changed:
            self._changed.notify_all()


class GatedConnection:
    """What a syncer uses of a connection, with a gate before each statement and each commit."""

    def __init__(self, conn: psycopg.Connection, gate: Gate, inserted: Callable[[], None]) -> None:
        self._conn, self._gate, self._inserted = conn, gate, inserted

    def execute(self, query: Any, *args: Any) -> Any:
        self._gate.stop(f"postgres: {' '.join(str(query).split())[:60]}")
        done = self._conn.execute(query, *args)
        if query == posting.INSERT_TICK:
            self._inserted()
        return done

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        with self._conn.transaction():
            yield
            self._gate.stop("postgres: COMMIT")
        self._gate.stop("postgres: committed")


class GatedProjection(Projection):
    """A projection with a gate before and after each command: a reply may be lost."""

    def __init__(self, client: keydb.Client, gate: Gate) -> None:
        super().__init__(client, chunk=2)
        self._gate = gate

    def read(self) -> Found:
        self._gate.stop("keydb: read")
        return super().read()

    def keys(self, found: Found) -> set[str]:
        self._gate.stop("keydb: keys")
        return super().keys(found)

    def apply(self, publication: Publication) -> Answer:
        answer = super().apply(publication)
        self._gate.stop("keydb: answer")
        return answer

    def _run(self, *args: Any, **known: Any) -> Answer:
        self._gate.stop("keydb: script")
        return super()._run(*args, **known)


class Lane:
    """One place for a syncer: alive on its own connections, or dead until it is needed again."""

    def __init__(
        self, dsn: str, url: str, watch: psycopg.Connection, inserted: Callable[[str], None]
    ) -> None:
        """`watch` sees who waits for locks; `inserted` is told a tick's token at its insert."""
        self._dsn, self._url, self._watch, self._inserted = dsn, url, watch, inserted
        self._token = ""
        self._pool = ThreadPoolExecutor(1)
        self._alive = ExitStack()
        self._syncer: Syncer | None = None
        self._running: Future[Any] | None = None
        self.gate = Gate()
        self.pid = 0

    def __str__(self) -> str:
        return self.gate.at or ("waits for a lock" if self.busy else "idle")

    @property
    def busy(self) -> bool:
        """Say whether an operation is under way."""
        return self._running is not None

    def start(self, work: Callable[[Syncer], Any]) -> None:
        """Begin an operation; it stops at its first gate."""
        syncer = self._syncer or self._open()
        self._running = self._pool.submit(work, syncer)
        self._running.add_done_callback(self.gate.end)
        self.wait()

    def go(self, order: Order = "go") -> None:
        """Let one step happen, or fail."""
        if self.gate.at:
            self.gate.order(order)
        self.wait()

    def wait(self) -> None:
        """Wait until the operation is at a gate, at its end, or waits for a lock."""
        eventually(lambda: self.gate.reached(self._ended) or self._blocked())
        if self._ended():
            self._finish()

    def close(self) -> None:
        """Kill whatever is alive."""
        self.cut()
        while self.busy:
            self.go("die")
        self._drop()
        self._pool.shutdown()

    def cut(self) -> None:
        """End the connection to Postgres from the server's side; noticed at the next statement."""
        if self._syncer:
            self._watch.execute("SELECT pg_terminate_backend(%s, 1000)", [self.pid])
            if self.busy:
                self.wait()
            else:
                self._drop()

    def _ended(self) -> bool:
        return self._running is not None and self._running.done()

    def _finish(self) -> None:
        running, self._running = self._running, None
        try:
            if running:
                running.result()
        except (Died, Unavailable):
            self._drop()

    def _drop(self) -> None:
        self._syncer = None
        with contextlib.suppress(Unavailable):
            self._alive.close()
        self._alive = ExitStack()

    def _blocked(self) -> bool:
        return self._watch.execute(BLOCKED, [self.pid]).fetchone() is not None

    def _open(self) -> Syncer:
        settings = PostgresSettings(postgres_dsn=Secret(self._dsn))
        conn = self._alive.enter_context(
            postgres.connection(settings, application="test", options=store.OPTIONS)
        )
        client = self._alive.enter_context(ledger.keydb_client(self._url))
        self.pid = conn.info.backend_pid
        gated = GatedConnection(conn, self.gate, lambda: self._inserted(self._token))
        self._syncer = Syncer(
            cast("psycopg.Connection", gated),
            GatedProjection(client, self.gate),
            self._new_token,
        )
        return self._syncer

    def _new_token(self) -> str:
        self._token = str(uuid.uuid4())
        return self._token
