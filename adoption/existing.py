"""Tables that were there, filled, before us: what of them counts for nothing; wider columns."""

from typing import LiteralString

import psycopg
import structlog
from psycopg import sql

SELECT_FINDINGS: LiteralString = """
SELECT 'transactions_without_provider' AS finding, count(*) AS rows
  FROM historical_transactions
 WHERE provider_id IS NULL
 UNION ALL
SELECT 'transactions_without_value', count(*)
  FROM historical_transactions
 WHERE transaction_value IS NULL
 UNION ALL
SELECT 'transactions_of_unknown_provider', count(*)
  FROM historical_transactions h
 WHERE provider_id IS NOT NULL
   AND NOT EXISTS (SELECT FROM initial_data p WHERE p.id = h.provider_id)
 UNION ALL
SELECT 'providers_without_name', count(*)
  FROM initial_data
 WHERE provider_name IS NULL
 UNION ALL
SELECT 'providers_without_initial_value', count(*)
  FROM initial_data
 WHERE initial_value IS NULL
"""
SELECT_NARROW_COLUMNS: LiteralString = """
SELECT relation, name
  FROM (VALUES (1, 'initial_data', 'id'), (2, 'initial_data', 'initial_value'),
               (3, 'historical_transactions', 'id'), (4, 'historical_transactions', 'provider_id'),
               (5, 'historical_transactions', 'transaction_value')) AS ours (n, relation, name)
  JOIN pg_attribute ON attrelid = relation::regclass AND attname = name
 WHERE atttypid IN ('smallint'::regtype, 'integer'::regtype)
 ORDER BY n
"""
# What a serial or a CREATE SEQUENCE AS got from a narrower type; a limit of the user's own stays.
SELECT_NARROW_SEQUENCES: LiteralString = """
SELECT n.nspname, c.relname, s.seqmax IN (32767, 2147483647)
  FROM pg_sequence s
  JOIN pg_class c ON c.oid = s.seqrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN unnest('{initial_data,historical_transactions}'::text[]) WITH ORDINALITY AS ours (name, n)
    ON c.oid = minutebook_id_sequence(name)
 WHERE s.seqtypid <> 'bigint'::regtype
    OR s.seqmax IN (32767, 2147483647)
 ORDER BY ours.n
"""
# All at once and first: a wait that is given up must not undo a rewriting.
LOCK: LiteralString = "LOCK TABLE initial_data, historical_transactions IN ACCESS EXCLUSIVE MODE"

log = structlog.get_logger()


def report(conn: psycopg.Connection) -> dict[str, int]:
    """Return and log how many rows of the user's tables count for nothing, or are not shown.

    A NULL amount counts as 0; a transaction without provider counts nowhere; one of an unknown
    provider counts as soon as that provider appears; a provider without a name is not shown.
    """
    findings = {finding: rows for finding, rows in conn.execute(SELECT_FINDINGS) if rows}
    for finding, rows in findings.items():
        log.warning("adopted_with_finding", finding=finding, rows=rows)
    return findings


def widen(conn: psycopg.Connection) -> list[str]:
    """Turn every narrower integer column of the user's tables into bigint; return their names.

    The sequences that their ids come from go along: a serial's would still end where it did.
    Rewrites each table concerned, and its readers and writers wait meanwhile.
    """
    widened: list[str] = []
    with conn.transaction():
        narrow = conn.execute(SELECT_NARROW_COLUMNS).fetchall()
        if narrow:
            conn.execute(LOCK)
        for relation, name in narrow:
            column = f"{relation}.{name}"
            log.warning("column_widened", column=column, note="rewrites the table")
            change = sql.SQL("ALTER TABLE {} ALTER COLUMN {} TYPE bigint")
            conn.execute(change.format(sql.Identifier(relation), sql.Identifier(name)))
            widened.append(column)
        for schema, name, ends_early in conn.execute(SELECT_NARROW_SEQUENCES).fetchall():
            end: LiteralString = "MAXVALUE 9223372036854775807" if ends_early else ""
            change = sql.SQL("ALTER SEQUENCE {} AS bigint {}")
            conn.execute(change.format(sql.Identifier(schema, name), sql.SQL(end)))
            log.warning("sequence_widened", sequence=name)
            widened.append(name)
    return widened
