"""`python -m migrations`: bring the database to this release's schema, once, then end."""

import sys
from collections.abc import Sequence

import psycopg
import structlog

from migrations import adoption, runner
from shared import logs, postgres, program, retry, settings
from shared.errors import Refusal, Unavailable

ABOUT = "Brings the database to this release's schema. Run twice it does nothing the second time."

GIVE_UP_AFTER_S = 60.0
"""A one-shot job ends: a wrong password would otherwise be tried for ever."""

log = structlog.get_logger()


class MigrationSettings(settings.PostgresSettings, settings.LogSettings):
    """What the one-shot job needs."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Wait for Postgres, apply what is missing, report; return the exit code."""
    parser = program.parser("migrations", ABOUT, MigrationSettings)
    parser.add_argument(
        "--widen",
        action="store_true",
        help="also turn narrower id and value columns into bigint (rewrites those tables)",
    )
    parser.add_argument("--status", action="store_true", help="only say what would be applied")
    chosen = parser.parse_args(arguments)
    configured = settings.load(MigrationSettings)
    logs.configure(configured, service="migrate")
    stop = program.stop_on_signals()
    try:
        for attempt in retry.connecting(stop, give_up_after_s=GIVE_UP_AFTER_S):
            with attempt, postgres.connection(configured, application="migrate") as conn:
                return status(conn) if chosen.status else migrate(conn, widen=chosen.widen)
    except Refusal as refusal:
        log.error("refused", reason=str(refusal))
        return program.EXIT_FINDING
    except Unavailable:
        return program.EXIT_UNREACHABLE
    except psycopg.Error as error:
        # Nothing has changed: each migration is one transaction.
        log.error("refused", reason=error.diag.message_primary, hint=error.diag.message_hint)
        return program.EXIT_FINDING
    return program.EXIT_UNREACHABLE


def migrate(conn: psycopg.Connection, *, widen: bool) -> int:
    """Apply what is missing; on the first time also report what the user's tables hold."""
    applied = runner.apply(conn, runner.read())
    if any(one.version == runner.FIRST_VERSION for one in applied):
        adoption.report(conn)
    if widen:
        adoption.widen(conn)
    log.info("schema_current", applied=len(applied))
    return 0


def status(conn: psycopg.Connection) -> int:
    """Say what is missing; exit 1 if anything is."""
    pending = runner.pending(conn, runner.read())
    for migration in pending:
        log.info("migration_pending", version=migration.version, name=migration.name)
    log.info("schema_status", pending=len(pending))
    return program.EXIT_FINDING if pending else 0


if __name__ == "__main__":
    sys.exit(main())
