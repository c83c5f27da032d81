"""Where there are several shards: that each provider is in the database of its own."""

from collections.abc import Iterator
from typing import LiteralString

import psycopg

from ops.doctor import core
from ops.doctor.core import Check
from ops.wording import count
from shared.shard import Shard

# The remainder in SQL has the sign of what is divided.
SELECT_ANOTHERS: LiteralString = """
SELECT count(*)
  FROM initial_data
 WHERE mod(mod(id, %(count)s) + %(count)s, %(count)s) <> %(number)s
"""


def inspect(conn: psycopg.Connection, shard: Shard) -> Iterator[Check]:
    """Ask how many providers are another shard's; yields nothing where there is one pipeline."""
    if shard.split is None:
        return
    given = {"count": shard.count, "number": shard.number}
    row = conn.execute(SELECT_ANOTHERS, given).fetchone()
    number = int(row[0]) if row else 0
    yield core.check(
        "postgres",
        "providers of other shards",
        count(number, "provider") if number else "none",
        warn=number > 0,
        advice=f"this is shard {shard}: their messages go elsewhere. Add them there (ops --shard K"
        " provider add --id ID), and remove them here",
    )
