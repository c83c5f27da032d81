"""Postgres, asked as `ops status` asks it, by one connection that lasts from poll to poll.

A new one for each poll would cost Postgres more than the questions do, since it knows no table yet.
It is replaced once a minute, so that it does not stay with a server whose place another has taken.
"""

from contextlib import ExitStack
from typing import LiteralString

import psycopg

from ops.console.metrics import Clock
from ops.deployment import DeploymentSettings
from ops.status import store
from ops.status.snapshot import Ledger
from services.syncer.tick_store import OPTIONS
from shared import postgres
from shared.errors import Unavailable
from shared.health import unwatched

LIMITS = f"{OPTIONS} -c statement_timeout=10s"
LASTS_S = 60.0
EXACT_MAX = 10_000

SELECT_PROVIDERS: LiteralString = """
SELECT CASE WHEN counted.number > %(exact)s::bigint
            THEN greatest(c.reltuples::bigint, counted.number)
            ELSE counted.number END
  FROM (SELECT count(*) AS number
          FROM (SELECT FROM initial_data LIMIT %(exact)s::bigint + 1) AS few) AS counted,
       pg_class c
 WHERE c.oid = 'initial_data'::regclass
"""


class PostgresProbe:
    """Asks; used from one thread at a time."""

    def __init__(self, chosen: DeploymentSettings, clock: Clock) -> None:
        """It connects when it is first asked; `clock` returns seconds and never goes back."""
        self._chosen = chosen
        self._clock = clock
        self._opened = ExitStack()
        self._conn: psycopg.Connection | None = None
        self._began = 0.0

    def __call__(self) -> Ledger:
        """Return what Postgres says. Raises `Unavailable`.

        A connection that is lost says nothing of the server as it is now: that is asked by another.
        """
        if self._conn is not None and self._clock() - self._began < LASTS_S:
            try:
                return self._read(self._conn)
            except Unavailable:
                pass
        return self._read(self._connected())

    def close(self) -> None:
        """Give the connection up."""
        self._conn = None
        self._opened.close()

    def _connected(self) -> psycopg.Connection:
        self.close()
        conn = self._opened.enter_context(
            postgres.connection(self._chosen, application="ops", options=LIMITS, turn=unwatched)
        )
        self._conn, self._began = conn, self._clock()
        return conn

    def _read(self, conn: psycopg.Connection) -> Ledger:
        with postgres.translating():
            return store.read(conn, self._chosen.postgres_disk_bytes, about_providers)


def about_providers(conn: psycopg.Connection) -> int:
    """Return how many providers there are: of more than `EXACT_MAX` what Postgres believes."""
    ((providers,),) = conn.execute(SELECT_PROVIDERS, {"exact": EXACT_MAX}).fetchall()
    return int(providers)
