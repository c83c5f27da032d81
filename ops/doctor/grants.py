"""All the rights that our roles need in a database.

A complete list: trying things out would find neither a right too many nor one that is needed
once a year.
"""

Rights = dict[str, dict[str, set[str]]]
"""By role, then by object: `SELECT` of the whole of it, or `SELECT (a, b)` of these columns."""

EVERYWHERE = {"schema": {"USAGE"}, "schema_migration": {"SELECT"}}
TRANSACTION = "message_id, provider_id, transaction_value"
STATE = "provider_id, queue, reason"

FOLLOWER = EVERYWHERE | {
    "tick": {"SELECT"},
    "balance": {"SELECT"},
    "follower": {"SELECT", "INSERT", "UPDATE (closed_id, epoch, error, error_at, moved_at, token)"},
}
WATCHED = "active, condition, for_seconds, provider_id, since_epoch"
ALERT = f"{WATCHED}, source, source_id, threshold, version"
ASKED = ("digest", "id", "items", "kind", "submitted_by")
TRACKED = (
    "bodies_sha256", "correlation_id", "counted_by", "decided_at", "message_ids", "numbers",
    "provider_ids", "published_at", "replied_at", "reply_due", "reply_to", "shown_at", "state",
    "waiting_since", "xids",
)  # fmt: skip
DEFERRED = "deferred, deferred_sha256"
PRICED = {"SELECT", "INSERT", "UPDATE"}
SAID = ("error", "outcome", "values")
NOTIFIED = (
    "balance, boundary, condition, delivered_at, epoch, error, id, previous, provider_id, sent_at,"
    " threshold"
)

SHOWN = EVERYWHERE | {
    "outbox_id_seq": {"SELECT"},
    "outbox_default": {"SELECT"},
    "outbox_dropped": {"SELECT"},
    "tick": {"SELECT"},
    "balance": {"SELECT"},
    "dead_letter_id_seq": {"SELECT"},
    "stream_offset": {"SELECT"},
    "disk_usage": {"SELECT"},
    "last_seen": {"SELECT"},
    "minutebook_id_sequence(text)": {"EXECUTE"},
    "role pg_read_all_stats": {"MEMBER"},
}
"""What operators, readers and the console have alike."""
CORRECTING = SHOWN | {
    "historical_transactions": {
        f"SELECT (created_at, id, {TRANSACTION}, xmin)",
        f"INSERT ({TRANSACTION})",
    },
    "historical_transactions_id_seq": {"SELECT", "USAGE"},
    "operator_action_id_seq": {"SELECT"},
    "dead_letter": {"SELECT", "UPDATE", "DELETE"},
    "received_message": {"SELECT", "INSERT (message_id, provider_id, value)"},
    "operator_action": {"SELECT", "INSERT (action, body, detail, operator, outcome, subject)"},
    "alert": {"SELECT", f"INSERT ({ALERT})", f"UPDATE ({ALERT}, xid)"},
    "notification": {"SELECT", "UPDATE (delivered_at)"},
    "request": {"SELECT"},
    "price": PRICED,
    "sighting_replay": {"INSERT (object_id)"},
    "minutebook_advance_sequence(text)": {"EXECUTE"},
}
"""What the console and operators have alike."""


def _columns(right: str, *names: str) -> str:
    return f"{right} ({', '.join(sorted(names))})"


RIGHTS: Rights = {
    # As Postgres has it of itself; none of our functions is for everybody.
    "everybody": {"database": {"CONNECT", "TEMPORARY"}, "schema": {"USAGE"}},
    "minutebook_ingest": EVERYWHERE
    | {
        "initial_data": {"SELECT (id, xmin)"},
        "historical_transactions": {f"SELECT (id, {TRANSACTION})", f"INSERT ({TRANSACTION})"},
        "historical_transactions_id_seq": {"USAGE"},
        "outbox": {"INSERT (amount, operation, provider_id, traceparent, transaction_id)"},
        "dead_letter": {
            "SELECT",
            f"INSERT (body, error, message_id, properties, {STATE}, state, value)",
            "UPDATE (error, reason, state)",
            "DELETE",
        },
        "received_message": {"SELECT", "INSERT (message_id, provider_id, value)"},
        "operator_action": {"SELECT (action, body, detail)"},
        "stream_offset": {
            "SELECT",
            f"INSERT (body_sha256, {DEFERRED}, generation, previous, reached, stream)",
            f"UPDATE ({DEFERRED})",
            "DELETE",
        },
        "minutebook_advance_sequence(text)": {"EXECUTE"},
    },
    "minutebook_syncer": EVERYWHERE
    | {
        "initial_data": {"SELECT (id, initial_value, provider_name)"},
        "historical_transactions": {"SELECT (provider_id, transaction_value)"},
        "outbox": {"SELECT"},
        "outbox_default": {"SELECT"},
        "tick": {"SELECT", "INSERT", "UPDATE (boundary, published_at)", "DELETE"},
        "balance": {"SELECT", "INSERT", "DELETE"},
        "received_message": {"SELECT", "DELETE"},
        "disk_usage": {"SELECT", "INSERT (database_bytes)", "DELETE"},
        "minutebook_make_partition(timestamp with time zone,interval)": {"EXECUTE"},
        "minutebook_drop_partition(text)": {"EXECUTE"},
        "minutebook_take_baseline(bigint,text,timestamp with time zone)": {"EXECUTE"},
    },
    "minutebook_feed": FOLLOWER
    | {
        "historical_transactions": {"SELECT (id, message_id)"},
        "outbox": {"SELECT"},
    },
    "minutebook_notifier": FOLLOWER
    | {
        "alert": {"SELECT", f"INSERT ({ALERT})", f"UPDATE ({ALERT}, xid)"},
        "notification": {
            "SELECT",
            f"INSERT (alert_id, {NOTIFIED})",
            "UPDATE (delivered_at, error, sent_at)",
            "DELETE",
        },
        "price": PRICED,
        "dead_letter": {
            "SELECT (body_sha256, message_id)",
            "INSERT (body, error, message_id, properties, queue, reason, state)",
        },
    },
    "minutebook_tracker": FOLLOWER
    | {
        "initial_data": {"SELECT (id, provider_name)"},
        "historical_transactions": {f"SELECT (created_at, id, {TRANSACTION}, xmin)"},
        "outbox": {"SELECT"},
        "outbox_dropped": {"SELECT"},
        "received_message": {"SELECT"},
        "request": {"SELECT", "DELETE", _columns("INSERT", *ASKED, *TRACKED, *SAID)}
        | {_columns("UPDATE", *TRACKED, *SAID)},
        "dead_letter": {
            "SELECT (body_sha256, error, message_id, reason, state)",
            "INSERT (body, error, message_id, properties, queue, reason, state)",
        },
        "price": {"SELECT"},
        "provider_symbol": {"SELECT"},
    },
    "minutebook_gateway": EVERYWHERE
    | {
        "initial_data": {"SELECT (id)"},
        "historical_transactions": {f"SELECT (created_at, id, {TRANSACTION}, xmin)"},
        "outbox": {"SELECT"},
        "outbox_dropped": {"SELECT"},
        "tick": {"SELECT"},
        "balance": {"SELECT"},
        "received_message": {"SELECT"},
        "request": {"SELECT"},
        "alert": {"SELECT"},
        "notification": {"SELECT"},
        "dead_letter": {
            "SELECT (body_sha256, error, id, message_id, queue, reason, received_at, state)"
        },
        "price": {"SELECT"},
        "provider_symbol": {"SELECT"},
    },
    "minutebook_observer": EVERYWHERE
    | {
        "last_seen": {"SELECT", "INSERT", "UPDATE (seen_at)", "DELETE"},
        "sighting_replay": {"SELECT", "UPDATE (object_id)", "DELETE"},
        "dead_letter": {
            "SELECT (body_sha256, message_id)",
            "INSERT (body, error, message_id, properties, queue, reason, state)",
        },
    },
    "minutebook_console": CORRECTING
    | {
        "initial_data": {
            "SELECT (id, initial_value, provider_name)",
            "INSERT (id, initial_value, provider_name)",
        },
        "initial_data_id_seq": {"SELECT"},
        "outbox": {
            "SELECT",
            "INSERT (amount, operation, provider_id, traceparent, transaction_id)",
        },
        "follower": {"SELECT"},
        "provider_symbol": {"SELECT"},
    },
    "minutebook_ops": CORRECTING
    | {
        "initial_data": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "initial_data_id_seq": {"SELECT", "USAGE"},
        "outbox": {
            "SELECT",
            "INSERT (amount, operation, provider_id, reason, traceparent, transaction_id)",
        },
        "follower": {"SELECT", "UPDATE", "DELETE"},
        "provider_symbol": {"SELECT", "INSERT", "UPDATE", "DELETE"},
        "minutebook_repair_default()": {"EXECUTE"},
    },
    "minutebook_reader": SHOWN
    | {
        "initial_data": {"SELECT (id, initial_value, provider_name)"},
        "historical_transactions": {f"SELECT (created_at, id, {TRANSACTION}, xmin)"},
        "historical_transactions_id_seq": {"SELECT"},
        "initial_data_id_seq": {"SELECT"},
        "outbox": {"SELECT"},
        "dead_letter": {f"SELECT (body_sha256, id, message_id, {STATE}, received_at, state)"},
        "received_message": {"SELECT"},
        "follower": {"SELECT"},
        "alert": {"SELECT"},
        "notification": {"SELECT"},
        "request": {_columns("SELECT", "accepted_at", *ASKED, *TRACKED)},
        "price": {"SELECT"},
        "provider_symbol": {"SELECT"},
    },
}
