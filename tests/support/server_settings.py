"""Postgres's settings that a role, a database or a session can have, and what each is to us."""

from typing import LiteralString

import psycopg
from psycopg import sql

from shared import session_settings

GERMAN = {
    "datestyle": "German",
    "intervalstyle": "sql_standard",
    "timezone": "America/New_York",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "array_nulls": "off",
    "standard_conforming_strings": "off",
    "quote_all_identifiers": "on",
    "transform_null_equals": "on",
    "default_transaction_isolation": "serializable",
    "row_security": "on",
    "exit_on_error": "on",
    "synchronous_commit": "off",
    "statement_timeout": "2s",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "100",
    "transaction_timeout": "2s",
}
"""The opposite of all that we pin or limit."""
INDIAN = {
    "datestyle": "SQL, DMY",
    "timezone": "Asia/Kolkata",
    "intervalstyle": "iso_8601",
    "escape_string_warning": "off",
    "backslash_quote": "on",
    "default_transaction_isolation": "repeatable read",
    "default_transaction_deferrable": "on",
    "check_function_bodies": "off",
    "client_min_messages": "error",
    "constraint_exclusion": "off",
    "enable_partition_pruning": "off",
    "enable_indexscan": "off",
    "gin_fuzzy_search_limit": "1",
    "lc_numeric": "C",
    "plan_cache_mode": "force_generic_plan",
    "restrict_nonsystem_relation_kind": "view, foreign-table",
    "synchronous_commit": "local",
    "xmlbinary": "hex",
    "xmloption": "document",
}
"""Times that read back otherwise than they were written, and what should do no harm."""

CLASSIFIED = {
    "limited by us, unless the DSN says otherwise": (
        "statement_timeout lock_timeout idle_in_transaction_session_timeout idle_session_timeout"
        " transaction_timeout jit application_name tcp_keepalives_count tcp_keepalives_idle"
        " tcp_keepalives_interval tcp_user_timeout"
    ),
    "the deployment's choice: where and how tables are kept; read-only is waited for": (
        "search_path default_tablespace temp_tablespaces default_table_access_method"
        " default_toast_compression local_preload_libraries session_preload_libraries"
        " dynamic_library_path extension_destdir extension_control_path"
        " default_transaction_read_only transaction_read_only"
    ),
    "no statement of ours has what it changes": (
        "lc_messages lc_monetary lc_numeric lc_time timezone_abbreviations icu_validation_level"
        " default_text_search_config xmlbinary xmloption gin_fuzzy_search_limit"
        " gin_pending_list_limit restrict_nonsystem_relation_kind lo_compat_privileges"
        " backslash_quote escape_string_warning createrole_self_grant event_triggers"
        " check_function_bodies synchronize_seqscans client_min_messages"
        " password_encryption scram_iterations md5_password_warnings"
    ),
    "of serializable transactions only, or set again by each transaction": (
        "default_transaction_deferrable transaction_deferrable transaction_isolation"
    ),
    "when and how work is done, not what": (
        "client_connection_check_interval deadlock_timeout commit_delay commit_siblings"
        " wal_compression wal_init_zero wal_recycle wal_skip_threshold file_copy_method"
        " vacuum_failsafe_age vacuum_freeze_min_age vacuum_freeze_table_age"
        " vacuum_multixact_failsafe_age vacuum_multixact_freeze_min_age"
        " vacuum_multixact_freeze_table_age"
    ),
}
"""Why a setting of a session is neither pinned nor refused, and the settings of which it is so."""
HARMLESS_CATEGORIES = (
    "Developer Options",
    "Query Tuning /",
    "Replication /",
    "Reporting and Logging /",
    "Resource Usage /",
    "Statistics /",
    "Vacuuming /",
)
"""Plans, speed and logs: no answer depends on them."""

SELECT_SETTABLE: LiteralString = """
SELECT lower(name), category
  FROM pg_settings
 WHERE context IN ('user', 'superuser', 'backend', 'superuser-backend')
   AND name NOT LIKE '%.%'
"""


def settable(conn: psycopg.Connection) -> dict[str, str]:
    """Return what a session can have its own value of, by name, each with its category."""
    return dict(conn.execute(SELECT_SETTABLE).fetchall())


def decided() -> set[str]:
    """Return the settings of which somebody decided what they are to us."""
    left_alone = {name for names in CLASSIFIED.values() for name in names.split()}
    return left_alone | set(session_settings.PINNED) | set(session_settings.REFUSED)


def impose(conn: psycopg.Connection, settings: dict[str, str]) -> None:
    """Have every later session of the database begin with `settings` that its server knows."""
    known = settable(conn)
    for name, value in settings.items():
        if name in known:
            conn.execute(
                sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                    sql.Identifier(conn.info.dbname), sql.Identifier(name), sql.Literal(value)
                )
            )
