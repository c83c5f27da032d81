"""Logins of every kind, and what each may do to Postgres: tried, not read off a list of grants."""

from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import psycopg
from psycopg import sql

from migrations import rights, runner

PASSWORD = "a password: of theirs/"
READER, STRANGER = "try_reader", "try_stranger"
LOGINS = (*rights.GROUPS, READER, STRANGER)


@dataclass(frozen=True)
class Act:
    """Something to try, in a transaction that is rolled back."""

    statement: str
    by: frozenset[str]
    """Who may do it; all others must be refused."""


def by(*logins: str) -> frozenset[str]:
    """Return who may."""
    return frozenset(logins)


NOBODY = by()
OPERATORS = by("console", "ops")
SERVICES = OPERATORS | by("ingest", "syncer", "tracker", "gateway", READER)
LOOKING = OPERATORS | by("syncer", READER)
FOLLOWERS = by("feed", "notifier", "tracker")

BEGIN_TO_FOLLOW = "INSERT INTO follower (name, epoch, token) VALUES ('{0}', 0, '')"

OURS = (*runner.tables(runner.read()), "schema_migration")
EMPTYING = {f"empty {table}": Act(f"TRUNCATE {table}", NOBODY) for table in OURS}

ACTS = EMPTYING | {
    # The user's tables.
    "read providers' ids": Act("SELECT id FROM initial_data", SERVICES),
    "read providers": Act("SELECT provider_name, initial_value FROM initial_data", LOOKING),
    "add a provider": Act("INSERT INTO initial_data VALUES (99, 'New', 0)", OPERATORS),
    "rename a provider": Act("UPDATE initial_data SET provider_name = 'X'", by("ops")),
    "change an initial value": Act("UPDATE initial_data SET initial_value = 9", by("ops")),
    "remove a provider": Act("DELETE FROM initial_data WHERE id = 2", by("ops")),
    "lock providers": Act("LOCK initial_data IN SHARE ROW EXCLUSIVE MODE", by("ops")),
    "empty providers": Act("TRUNCATE initial_data CASCADE", NOBODY),
    "read amounts": Act(
        "SELECT provider_id, transaction_value FROM historical_transactions", SERVICES
    ),
    "read a column of the user's own": Act("SELECT note FROM historical_transactions", NOBODY),
    "insert a transaction": Act(
        "INSERT INTO historical_transactions (provider_id, transaction_value, message_id)"
        " VALUES (1, 5, 'x')",
        OPERATORS | by("ingest"),
    ),
    "insert one under an id of its own": Act(
        "INSERT INTO historical_transactions (id, provider_id, transaction_value)"
        " OVERRIDING SYSTEM VALUE VALUES (1000000, 1, 5)",
        NOBODY,
    ),
    "change a transaction": Act("UPDATE historical_transactions SET transaction_value = 0", NOBODY),
    "delete a transaction": Act("DELETE FROM historical_transactions", NOBODY),
    "set the sequence": Act(
        "SELECT setval(minutebook_id_sequence('historical_transactions'), 1)", NOBODY
    ),
    "advance the sequence": Act("SELECT minutebook_advance_sequence()", OPERATORS | by("ingest")),
    # The outbox.
    "read the outbox": Act("SELECT FROM outbox LIMIT 1", LOOKING | {"feed", "tracker", "gateway"}),
    "read the default partition": Act("SELECT count(*) FROM outbox_default", LOOKING),
    "note in the outbox": Act(
        "INSERT INTO outbox (transaction_id, provider_id, amount, operation)"
        " VALUES (1, 1, 5, 'added')",
        OPERATORS | by("ingest"),
    ),
    "note a correction": Act(
        "INSERT INTO outbox (provider_id, amount, operation, reason)"
        " VALUES (1, 5, 'repaired', 'why')",
        by("ops"),
    ),
    "claim another's transaction": Act(
        "INSERT INTO outbox (xid, provider_id, amount, operation) VALUES ('3', 1, 5, 'added')",
        NOBODY,
    ),
    "change the outbox": Act("UPDATE outbox SET amount = 0", NOBODY),
    "delete from the outbox": Act("DELETE FROM outbox", NOBODY),
    "lock the outbox": Act("LOCK TABLE outbox IN ACCESS EXCLUSIVE MODE", NOBODY),
    "make a partition": Act("SELECT minutebook_make_partition('2031-01-01 00:00Z')", by("syncer")),
    "drop a partition": Act("SELECT minutebook_drop_partition('outbox_none')", by("syncer")),
    "repair the default partition": Act("SELECT minutebook_repair_default()", by("ops")),
    # Ticks and balances.
    "read ticks": Act("SELECT FROM tick", LOOKING | FOLLOWERS | by("gateway")),
    "write a tick": Act(
        "INSERT INTO tick (epoch, token, snapshot, system_identifier, rows, amount)"
        " VALUES (9, 'x', pg_current_snapshot(), 1, 0, 0)",
        by("syncer"),
    ),
    "note when a tick was shown": Act("UPDATE tick SET published_at = now()", by("syncer")),
    "change what a tick counted": Act("UPDATE tick SET snapshot = '1:1:'", NOBODY),
    "prune ticks": Act("DELETE FROM tick", by("syncer")),
    "read balances": Act("SELECT FROM balance", LOOKING | FOLLOWERS | by("gateway")),
    "append a balance": Act("INSERT INTO balance VALUES (1, 9, '1_Visa', false, 5)", by("syncer")),
    "change a balance": Act("UPDATE balance SET balance = 5", NOBODY),
    "prune balances": Act("DELETE FROM balance", by("syncer")),
    "take a baseline": Act("SELECT minutebook_take_baseline(9, 'x', NULL)", by("syncer")),
    "note the size": Act("INSERT INTO disk_usage (database_bytes) VALUES (5)", by("syncer")),
    "note it of another time": Act(
        "INSERT INTO disk_usage (measured_at, database_bytes) VALUES ('2020-01-01', 5)", NOBODY
    ),
    "read the sizes": Act("SELECT database_bytes FROM disk_usage", LOOKING),
    "forget sizes": Act("DELETE FROM disk_usage", by("syncer")),
    # Dead letters, streams, what operators did.
    "count dead letters": Act(
        "SELECT state, reason, count(*), min(received_at) FROM dead_letter GROUP BY 1, 2",
        OPERATORS | by("ingest", "gateway", READER),
    ),
    "read dead letters": Act("SELECT body, properties FROM dead_letter", OPERATORS | by("ingest")),
    "store a dead letter": Act(
        "INSERT INTO dead_letter (message_id, reason, error, queue, body, properties, state)"
        " VALUES ('x', 'not_json', '', 'q', '', '{}', 'open')",
        by("ingest", "notifier", "tracker", "observer"),
    ),
    "change a dead letter's state": Act(
        "UPDATE dead_letter SET state = 'open'", OPERATORS | by("ingest")
    ),
    "change a dead letter's body": Act("UPDATE dead_letter SET body = ''", OPERATORS),
    "delete a dead letter": Act("DELETE FROM dead_letter", OPERATORS | by("ingest")),
    "move a stream on": Act(
        "INSERT INTO stream_offset"
        " (stream, generation, previous, reached, body_sha256, deferred_sha256)"
        " VALUES ('s', 'g', -1, 0, '', '')",
        by("ingest"),
    ),
    "move a stream back": Act("UPDATE stream_offset SET reached = 0", NOBODY),
    "settle a stream's deferred messages": Act(
        "UPDATE stream_offset SET deferred = NULL", by("ingest")
    ),
    "note an operator's action": Act(
        "INSERT INTO operator_action (action, subject, outcome, operator)"
        " VALUES ('a', 's', 'done', 'me')",
        OPERATORS,
    ),
    "note it in another's name": Act(
        "INSERT INTO operator_action (action, subject, outcome, operator, database_user)"
        " VALUES ('a', 's', 'done', 'me', 'somebody')",
        NOBODY,
    ),
    "take back an operator's action": Act("DELETE FROM operator_action", NOBODY),
    # Followers and alerts.
    "read identities": Act(
        "SELECT id, message_id FROM historical_transactions",
        OPERATORS | by("ingest", "feed", "tracker", "gateway", READER),
    ),
    "see where followers are": Act("SELECT FROM follower", OPERATORS | FOLLOWERS | by(READER)),
    "begin to follow as the feed": Act(BEGIN_TO_FOLLOW.format("feed"), by("feed")),
    "begin to follow as nobody": Act(BEGIN_TO_FOLLOW.format("nobody"), NOBODY),
    "move the notifier": Act(
        "UPDATE follower SET epoch = 9 WHERE name = 'notifier'", by("notifier", "ops")
    ),
    "rename a follower": Act("UPDATE follower SET name = 'feed'", by("ops")),
    "forget a follower": Act("DELETE FROM follower", by("ops")),
    "read alerts": Act("SELECT FROM alert", OPERATORS | by("notifier", "gateway", READER)),
    "add an alert": Act(
        "INSERT INTO alert (condition, threshold, source, source_id, since_epoch)"
        " VALUES ('below', 5, 's', 'i', 0)",
        OPERATORS | by("notifier"),
    ),
    "read notifications": Act(
        "SELECT FROM notification", OPERATORS | by("notifier", "gateway", READER)
    ),
    "write a notification": Act(
        "INSERT INTO notification (id, alert_id, provider_id, epoch, condition, balance)"
        " VALUES ('x', 1, 1, 0, 'below', 5)",
        by("notifier"),
    ),
    "change what was told": Act("UPDATE notification SET balance = 9", NOBODY),
    "note that it was delivered": Act(
        "UPDATE notification SET delivered_at = now()", OPERATORS | by("notifier")
    ),
    "forget notifications": Act("DELETE FROM notification", by("notifier")),
    # Requests.
    "read requests": Act(
        "SELECT id, state FROM request", OPERATORS | by("tracker", "gateway", READER)
    ),
    "read what became of them": Act(
        "SELECT outcome FROM request", OPERATORS | by("tracker", "gateway")
    ),
    "accept a request": Act(
        "INSERT INTO request (id, kind, submitted_by, items, digest)"
        " VALUES ('x', 'transactions', 'me', 1, '')",
        by("tracker"),
    ),
    "say that it was accepted earlier": Act("UPDATE request SET accepted_at = now()", NOBODY),
    "change who sent it": Act("UPDATE request SET submitted_by = 'me'", NOBODY),
    "decide a request": Act("UPDATE request SET state = 'done', decided_at = now()", by("tracker")),
    "forget requests": Act("DELETE FROM request", by("tracker")),
    # Sightings.
    "see what was seen": Act("SELECT FROM last_seen", OPERATORS | by("observer", READER)),
    "say that something was seen": Act(
        "INSERT INTO last_seen VALUES (7, now())"
        " ON CONFLICT (object_id) DO UPDATE SET seen_at = excluded.seen_at",
        by("observer"),
    ),
    "take an object for another": Act("UPDATE last_seen SET object_id = 9", NOBODY),
    "expire what was seen": Act("DELETE FROM last_seen", by("observer")),
    "replay a sighting": Act("INSERT INTO sighting_replay (object_id) VALUES (7)", OPERATORS),
    "take a replay": Act("DELETE FROM sighting_replay", by("observer")),
    # The schema and the server.
    "read the schema's version": Act(
        "SELECT max(version) FROM schema_migration", SERVICES | FOLLOWERS | by("observer")
    ),
    "pretend a migration": Act("INSERT INTO schema_migration VALUES (99, 'x', 'x')", NOBODY),
    "make a table": Act("CREATE TABLE theirs ()", NOBODY),
    "change a table": Act("ALTER TABLE balance ADD COLUMN theirs text", NOBODY),
    "disable a trigger": Act(
        "ALTER TABLE historical_transactions DISABLE TRIGGER minutebook_inserted", NOBODY
    ),
    "silence the triggers": Act("SET session_replication_role = replica", NOBODY),
    "grant rights": Act("SELECT minutebook_grant_rights()", NOBODY),
    "make a role": Act("CREATE ROLE theirs", NOBODY),
    "become the owner": Act('SET ROLE "user"', NOBODY),
    "read the server's files": Act("SELECT pg_read_file('PG_VERSION')", NOBODY),
    "ask which cluster this is": Act(
        "SELECT system_identifier, pg_walfile_name(pg_current_wal_lsn()) FROM pg_control_system()",
        by(*LOGINS),
    ),
}


def make_logins(admin: psycopg.Connection) -> None:
    """Make the services' logins as `python -m migrations` does, and two of our own."""
    rights.ensure_logins(admin, dict.fromkeys(rights.GROUPS, PASSWORD))
    for name in (READER, STRANGER):
        admin.execute(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(
                sql.Identifier(name), sql.Literal(PASSWORD)
            )
        )
    admin.execute(sql.SQL("GRANT minutebook_reader TO {}").format(sql.Identifier(READER)))


def dsn_of(login: str, dsn: str) -> str:
    """Return the URL by which `login` reaches the database of `dsn`."""
    parts = urlsplit(dsn)
    where = f"{login}:{quote(PASSWORD, safe='')}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=where))
