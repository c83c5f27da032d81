"""A trigger of the user's that refuses transactions."""

from typing import LiteralString

import psycopg
from psycopg import sql


def create(conn: psycopg.Connection, state: str, *, where: LiteralString = "true") -> None:
    """Have transactions refused with a SQLSTATE."""
    text = """
    CREATE FUNCTION their_refusal() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF {where} THEN RAISE EXCEPTION 'refused' USING ERRCODE = {state}; END IF;
        RETURN NEW;
    END $$;
    CREATE TRIGGER their_trigger BEFORE INSERT ON historical_transactions
        FOR EACH ROW EXECUTE FUNCTION their_refusal()
    """
    conn.execute(sql.SQL(text).format(where=sql.SQL(where), state=sql.Literal(state)))


def drop(conn: psycopg.Connection) -> None:
    """Remove the trigger of `create`."""
    conn.execute("DROP FUNCTION their_refusal CASCADE")
