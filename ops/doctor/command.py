"""`ops doctor`."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import click
import psycopg
from rich.console import Group
from rich.text import Text

from ops import tables
from ops.answer import Answer, answering
from ops.deployment import DeploymentSettings
from ops.doctor import (
    clock_checks,
    follower_checks,
    keydb_checks,
    postgres_checks,
    rabbitmq_checks,
    shard_checks,
)
from ops.doctor.core import Check, failed
from ops.wording import visible
from shared import keydb, postgres, program, settings
from shared.errors import Denied, Server, Unavailable
from shared.limited_connection import LimitedConnection

CONNECT_TIMEOUT_S = 5
ANSWER_WITHIN_S = 10.0
"""Of each question to Postgres: a server that is frozen would hold us up without end."""
STYLES = {"ok": "green", "warn": "yellow", "fail": "bold red"}


@click.command(short_help="Check every server setting that matters.")
@answering
def doctor() -> Answer:
    """Check every server setting that matters; say what to change and why. Exit 1 on a fail."""
    checks = inspect(settings.load(DeploymentSettings))
    code = program.EXIT_FINDING if failed(checks) else 0
    return Answer({"ok": not code, "checks": checks}, _view(checks), code)


def inspect(chosen: DeploymentSettings) -> list[Check]:
    """Return every check; a server that gives no answer is one that fails."""
    postgres_says = list(_of("postgres", lambda: _postgres(chosen)))
    followers = follower_checks.named(postgres_says)
    return [
        *postgres_says,
        *_of("rabbitmq", lambda: rabbitmq_checks.inspect(chosen, followers)),
        *_of("keydb", lambda: _keydb(chosen)),
    ]


def _of(server: Server, look: Callable[[], Iterable[Check]]) -> Iterator[Check]:
    try:
        yield from look()
    except Unavailable as error:
        denied = isinstance(error, Denied)
        advice = "correct what it says" if denied else f"bring {server} back: ops status"
        yield Check(server, "answers", "fail", error.detail, advice)


def _postgres(chosen: DeploymentSettings) -> Iterator[Check]:
    # Not as our services connect, which bring settings of their own: as any other client does.
    with (
        postgres.translating(),
        LimitedConnection.connect(
            chosen.postgres_dsn.get_secret_value(),
            autocommit=True,
            connect_timeout=CONNECT_TIMEOUT_S,
            application_name="minutebook-ops",
        ) as conn,
    ):
        conn.answer_within_s = ANSWER_WITHIN_S
        try:
            yield from postgres_checks.inspect(conn)
            yield from shard_checks.inspect(conn, chosen.own_shard)
        except psycopg.errors.InsufficientPrivilege as error:
            advice = f"grant it, or run as the owner of the tables: {error.diag.message_primary}"
            yield Check("postgres", "rights", "warn", "not everything could be read", advice)
        yield clock_checks.offset("postgres", lambda: _time(conn))


def _time(conn: psycopg.Connection) -> float:
    row = conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    return float(row[0]) if row else 0.0


def _keydb(chosen: DeploymentSettings) -> Iterator[Check]:
    with keydb.client(chosen, name="ops") as client:
        yield from keydb_checks.inspect(client)

        def ask() -> float:
            with keydb.translating(client):
                seconds, micros = client.time()
            return seconds + micros / 1e6

        yield clock_checks.offset("keydb", ask)


def _view(checks: Sequence[Check]) -> Group:
    table = tables.table("", "server", "what", "found")
    for one in checks:
        table.add_row(
            Text(one.verdict, style=STYLES[one.verdict]), one.server, one.name, visible(one.found)
        )
    advice = [
        Text(f"{one.verdict}  {one.server} {one.name}: {one.advice}", style=STYLES[one.verdict])
        for one in checks
        if one.verdict != "ok"
    ]
    return Group(table, Text(), *(advice or [Text("Nothing to change.", style="bold green")]))
