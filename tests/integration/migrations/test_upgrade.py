"""An upgrade under load: an older commit's services, the new schema, then the new services."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from migrations import runner
from shared.postgres import SCHEMA_NEEDED
from tests.support import ledger, messages, older_release, outages, programs
from tests.support.eventually import eventually

CORE = ("services.ingest", "services.ticker", "services.syncer")
PER_S = 200
MORE = 200
"""Messages to be stored, and counted by a tick, before the upgrade goes on."""
COUNTS = """
SELECT (SELECT count(*) FROM historical_transactions), (SELECT coalesce(sum(rows), 0) FROM tick)
"""
NEXT = "ALTER TABLE historical_transactions ADD COLUMN note text"
"""As CONTRIBUTING.md has new columns made: what the release after this one may do."""


@pytest.fixture
def older() -> Iterator[Path]:
    with older_release.unpacked() as tree:
        yield tree


@pytest.fixture
def environment(environment: dict[str, str], dsn: str, empty_dsn: str) -> dict[str, str]:
    return environment | {"POSTGRES_DSN": empty_dsn}


def counts(conn: psycopg.Connection) -> tuple[int, int]:
    stored, counted = conn.execute(COUNTS).fetchone() or (0, 0)
    return int(stored), int(counted)


def await_more(conn: psycopg.Connection) -> None:
    """Wait until messages are stored and counted that were not there at this moment."""
    least = [one + MORE for one in counts(conn)]
    eventually(lambda: all(now >= one for now, one in zip(counts(conn), least, strict=True)))


def with_next(folder: Path) -> list[runner.Migration]:
    """Return the migrations of the release after this one."""
    for path in runner.FOLDER.glob("*.sql"):
        shutil.copy(path, folder)
    (folder / f"{SCHEMA_NEEDED + 1:04}_add_note.sql").write_text(f"{NEXT};\n")
    return runner.read(folder)


def test_under_load_old_services_go_on_with_the_new_schema_and_new_ones_replace_them(
    older: Path,
    environment: dict[str, str],
    amqp_url: str,
    store: "redis.Redis",
    tmp_path: Path,
) -> None:
    dsn = environment["POSTGRES_DSN"]
    with older_release.running(older, "migrations", **environment) as migrating:
        assert migrating.process.wait(60) == 0
    with contextlib.ExitStack() as stack:
        conn = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        messages.add_providers(conn)
        old = [
            stack.enter_context(older_release.running(older, one, **environment)) for one in CORE
        ]
        traffic = stack.enter_context(outages.flowing(amqp_url, PER_S))
        await_more(conn)

        with programs.running("migrations", **environment) as migrating:
            assert migrating.process.wait(60) == 0
        await_more(conn)
        for module, gone in zip(CORE, old, strict=True):
            new = stack.enter_context(programs.running(module, **environment))
            eventually(lambda one=new: one.health()[0] == 200)  # type: ignore[misc]
            assert gone.stop() == 0
            await_more(conn)

        # What the next release's migrations do, this one's services bear.
        assert len(runner.apply(conn, with_next(tmp_path))) == 1
        again = stack.enter_context(programs.running("services.ingest", **environment))
        eventually(lambda: again.health()[0] == 200)
        await_more(conn)
        traffic.stop()
        eventually(lambda: len(messages.rows(conn)) == traffic.sent)
        assert sorted(messages.rows(conn)) == traffic.rows()
        eventually(lambda: ledger.shown(store) == ledger.truth(conn))
        ledger.assert_counted_once(conn)
