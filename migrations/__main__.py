"""`python -m migrations`: bring the database to this release's schema, once, then end."""

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import click
import psycopg
import structlog
from pydantic import Field, Secret

from adoption import checks, existing
from migrations import locks, rights, runner
from shared import logs, postgres, program, retry, settings
from shared.errors import Denied, Refusal, StatementFailed, Unavailable

ABOUT = "Brings the database to this release's schema. Run twice it does nothing the second time."

GIVE_UP_AFTER_S = 60.0
"""A one-shot job ends: a wrong password would otherwise be tried without end."""

log = structlog.get_logger()


def _password(login: str) -> Any:  # noqa: ANN401 - as pydantic's own
    meaning = f"password that login `{login}` gets, made if it is missing; empty: left alone"
    return Field(default=Secret(""), description=meaning)


class MigrationSettings(settings.PostgresSettings, settings.LogSettings):
    """What the one-shot job needs."""

    postgres_logins: Literal["", "made", "kept"] = Field(
        default="made", description="kept: make no login, whatever passwords are set"
    )
    postgres_ingest_password: Secret[str] = _password("ingest")
    postgres_syncer_password: Secret[str] = _password("syncer")
    postgres_feed_password: Secret[str] = _password("feed")
    postgres_notifier_password: Secret[str] = _password("notifier")
    postgres_tracker_password: Secret[str] = _password("tracker")
    postgres_gateway_password: Secret[str] = _password("gateway")
    postgres_observer_password: Secret[str] = _password("observer")
    postgres_console_password: Secret[str] = _password("console")
    postgres_ops_password: Secret[str] = _password("ops")
    postgres_exporter_password: Secret[str] = _password("exporter")
    migration_lock_wait_seconds: int = Field(
        default=300,
        ge=0,
        le=86_400,
        description="seconds to try for locks that others hold; exit 1 then",
    )

    def passwords(self) -> dict[str, str]:
        """Return the logins to make or renew, with their passwords."""
        if self.postgres_logins == "kept":
            return {}
        given = {login: getattr(self, f"postgres_{login}_password") for login in rights.GROUPS}
        told = {login: password.get_secret_value() for login, password in given.items()}
        return {login: password for login, password in told.items() if password}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    return program.execute(command, "migrations", arguments)


@program.command(ABOUT, program.settings_help(MigrationSettings))
@click.option(
    "--widen",
    is_flag=True,
    help="Also turn narrower id and value columns into bigint (rewrites those tables).",
)
@click.option("--status", "asked", is_flag=True, help="Only say what would be applied.")
def command(*, widen: bool, asked: bool) -> int:
    """Wait for Postgres, apply what is missing, report; return the exit code."""
    configured = settings.load(MigrationSettings)
    logs.configure(configured, service="migrate")
    stop = program.stop_on_signals()
    try:
        for attempt in retry.connecting(stop, give_up_after_s=GIVE_UP_AFTER_S):
            with (
                attempt,
                postgres.connection(configured, application="migrate") as conn,
                postgres.connection(configured, application="migrate-watch") as watch,
            ):
                if asked:
                    return status(conn)
                steps = locks.Steps(conn, watch, stop, configured.migration_lock_wait_seconds)
                return migrate(conn, configured.passwords(), steps.run, widen=widen)
    except Refusal as refusal:
        log.error("refused", reason=str(refusal))
        return program.EXIT_FINDING
    except StatementFailed as failed:
        # Nothing has changed: each migration is one transaction.
        log.error("refused", reason=failed.detail, hint=failed.hint)
        return program.EXIT_FINDING
    except Unavailable as failed:
        if isinstance(failed, Denied):  # else each attempt has said it
            log.error("refused", reason=failed.detail)
        return program.EXIT_UNREACHABLE
    return program.EXIT_UNREACHABLE


def migrate(
    conn: psycopg.Connection,
    passwords: Mapping[str, str],
    run_step: locks.RunStep,
    *,
    widen: bool,
) -> int:
    """Apply what is missing, grant what is not granted, make the logins of `passwords`.

    On the first time also report what the user's tables hold. Raises `Refusal` if the services
    could not work with the tables as they are.
    """
    applied = runner.apply(conn, runner.read(), run_step)
    if any(one.version == runner.FIRST_VERSION for one in applied):
        existing.report(conn)
    if widen:
        run_step("--widen", partial(existing.widen, conn))
    run_step("rights", partial(rights.grant, conn))
    run_step("logins", partial(rights.ensure_logins, conn, passwords))
    checks.refuse(conn)  # whoever changed what since the last run
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
