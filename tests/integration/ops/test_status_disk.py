"""`ops status` says when Postgres's disk is full."""

from typing import Any

import psycopg
import pytest

from tests.support import ops_tool
from tests.support.ops_tool import Tool


@pytest.fixture
def ops(dsn: str) -> Tool:
    """The tool beside Postgres; the other servers are down."""
    return ops_tool.deployment(dsn)


def about(document: Any, level: str = "wrong") -> set[str]:
    return {one["about"] for one in document["findings"] if one["level"] == level}


def said(document: Any) -> str:
    return "\n".join(one["says"] for one in document["findings"])


def test_how_full_the_disk_is_is_said_where_its_size_is_set(
    ops: Tool, conn: psycopg.Connection
) -> None:
    assert ops.json("status", code=1)["postgres"]["disk"]["growth_bytes_per_h"] is None
    conn.execute(
        "INSERT INTO disk_usage (measured_at, database_bytes)"
        " VALUES (now() - interval '2 hours', pg_database_size(current_database()) - 10^8)"
    )
    unknown = ops.json("status", code=1)
    roomy = ops.json("status", code=1, POSTGRES_DISK_GB="1000")
    soon = ops.json("status", code=1, POSTGRES_DISK_GB="0.2")

    assert unknown["postgres"]["disk"]["growth_bytes_per_h"] == pytest.approx(5e7, rel=0.1)
    assert unknown["postgres"]["disk"]["full_in_s"] is None
    assert roomy["postgres"]["disk"]["full_in_s"] == pytest.approx(20_000 * 3600, rel=0.1)
    assert "disk" not in about(unknown) | about(roomy) | about(roomy, "note")
    assert "disk" in about(soon)
    assert "the disk is full in 3 h" in said(soon)
