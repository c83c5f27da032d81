"""A syncer that stops before every statement and command until it is told how to go on.

Two of them, moved step by step from one thread, run in any interleaving one likes, and each may
die, or find a server away, at any step. Production code knows nothing of it: what is passed to
`Syncer` is wrapped. Every wait has a limit, after which it fails with what it saw.
"""

import contextlib
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, cast

import psycopg
from pydantic import Secret

from services.syncer import publish_store, tick_store
from services.syncer.core import ObservedWatermark, Publication
from services.syncer.projection import Projection, ScriptResult
from services.syncer.service import Syncer
from shared import keydb, postgres
from shared.errors import Unavailable
from shared.settings import PostgresSettings
from tests.support import ledger
from tests.support.eventually import eventually
from tests.support.step_gate import LIMIT_S, Died, Gate, Order

STATEMENTS = {
    tick_store.LOCK: "lock",
    tick_store.SELECT_NEWEST: "newest tick",
    publish_store.SELECT_OURS: "known",
    publish_store.SELECT_CHANGED: "changes",
    publish_store.SELECT_ALL: "everything",
    tick_store.INSERT_TICK: "insert tick",
}
"""Steps that a test may want to stop before, by name."""

BLOCKED = "SELECT FROM pg_locks WHERE pid = %s AND NOT granted"
SELECT_ACTIVITY = """
SELECT state, wait_event_type, wait_event, left(query, 80)
  FROM pg_stat_activity
 WHERE pid = %s
"""


class GatedConnection:
    """What a syncer uses of a connection, with a gate before each statement and each commit."""

    def __init__(self, conn: psycopg.Connection, gate: Gate, inserted: Callable[[], None]) -> None:
        self._conn, self._gate, self._inserted = conn, gate, inserted

    def execute(self, query: Any, *args: Any) -> Any:
        name = STATEMENTS.get(query) or " ".join(str(query).split())[:60]
        self._gate.stop(f"postgres: {name}")
        done = self._conn.execute(query, *args)
        if query == tick_store.INSERT_TICK:
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

    def read(self) -> ObservedWatermark:
        self._gate.stop("keydb: read")
        return super().read()

    def keys(self, observed: ObservedWatermark) -> set[str]:
        self._gate.stop("keydb: keys")
        return super().keys(observed)

    def apply(self, publication: Publication) -> ScriptResult:
        result = super().apply(publication)
        self._gate.stop("keydb: answer")
        return result

    def _run(self, *args: Any) -> ScriptResult:
        self._gate.stop("keydb: script")
        return super()._run(*args)


class SteppedSyncer:
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
        self.outcome: object = None
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
        try:
            eventually(lambda: self.gate.reached(self._ended) or self._blocked(), LIMIT_S)
        except AssertionError as error:
            seen = self._watch.execute(SELECT_ACTIVITY, [self.pid]).fetchone()
            message = f"{self}, which takes longer than {LIMIT_S} s; its connection: {seen}"
            raise AssertionError(message) from error
        if self._ended():
            self._finish()

    def close(self) -> None:
        """Kill whatever is alive."""
        self.gate.close()
        try:
            self.cut()
            if self._running:
                self._running.exception(LIMIT_S)
        finally:
            self._running = None
            self._drop()
            self._pool.shutdown(wait=False)

    def cut(self) -> None:
        """End the connection to Postgres; in the middle of its work by the server, unnoticed."""
        if not self.busy:
            self._drop()
            return
        self._watch.execute("SELECT pg_terminate_backend(%s)", [self.pid])
        eventually(lambda: not self._watch.execute(SELECT_ACTIVITY, [self.pid]).fetchone(), LIMIT_S)
        self.wait()

    def _ended(self) -> bool:
        return self._running is not None and self._running.done()

    def _finish(self) -> None:
        running, self._running = self._running, None
        try:
            self.outcome = running.result() if running else None
        except (Died, Unavailable) as error:
            self.outcome = error
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
            postgres.connection(settings, application="test", options=tick_store.OPTIONS)
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
