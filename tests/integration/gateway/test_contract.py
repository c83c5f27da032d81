"""Schemathesis makes up requests from the committed document: no bug, nothing undocumented."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import http_gateway, ledger, servers
from tests.support.containers import ROOT
from tests.support.http_gateway import WRITER, Gateway

CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method",
    "allow_header_conformance", "ignored_auth",
)  # fmt: skip
HOOKS = "tests.support.schemathesis_hooks"
TIMEOUT_S = 200.0


@pytest.fixture
def full(gateway_url: str, postgres_server: servers.Postgres) -> Iterator[Gateway]:
    """A gateway that has all it needs, and something to say."""
    with postgres_server.database() as dsn, psycopg.connect(dsn, autocommit=True) as conn:
        ledger.add_provider(conn, "Visa", 1000)
        ledger.count_all(conn)
        ledger.add(conn, 1, 600)
        ledger.count_all(conn)
        with http_gateway.accepting(gateway_url, dsn) as gateway:
            yield gateway


def test_no_request_that_schemathesis_makes_up_meets_a_bug_or_an_undocumented_answer(
    full: Gateway, tmp_path: Path
) -> None:
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", str(ROOT / "docs" / "openapi.json"),
        "--url", f"http://127.0.0.1:{full.port}", "--header", f"Authorization: Bearer {WRITER}",
        "--exclude-path", "/v1/ticks/stream",  # it does not end
        "--phases", "examples,coverage,fuzzing", "--max-examples", "5",
        "--workers", "1",  # two threads that parse Python at once meet a bug of CPython 3.11
        "--checks", ",".join(CHECKS), "--continue-on-failure", "--generation-deterministic",
        "--warnings", "off",
    ]  # fmt: skip
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": HOOKS},
        check=False,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )

    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
    bugs = [one for one in full.program.lines() if one["event"] == "bug"]
    assert bugs == []
