-- Minutebook's own tables. What decides about money is insert-only: a row that is updated at each
-- tick would keep all its versions for as long as a snapshot somewhere needs them, so that one
-- long transaction beside us could make us slow.

-- What changed, and in which Postgres transaction (`xid`): who reads it asks for what became
-- visible since an earlier snapshot, as the consumers of PgQ do. `amount` is what the change adds
-- to the provider's balance; numeric, because minus the least bigint is no bigint. A change of the
-- provider itself (its initial value, its name, added, removed) has no transaction_id. `reason` is
-- why an operator corrected a balance. `traceparent` is the W3C trace context of the message.
CREATE TABLE outbox (
    id             bigint      GENERATED ALWAYS AS IDENTITY,
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    transaction_id bigint,
    provider_id    bigint      NOT NULL,
    amount         numeric     NOT NULL,
    operation      text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    reason         text,
    traceparent    text,
    CONSTRAINT outbox_operation_check
        CHECK (operation IN ('added', 'modified', 'removed', 'repaired')),
    CONSTRAINT outbox_reason_check CHECK ((operation = 'repaired') = (reason IS NOT NULL))
) PARTITION BY RANGE (created_at);

CREATE INDEX outbox_xid_idx ON outbox (xid);
-- Leads from a transaction to its changes by hand, which are few. Its first row is found by its
-- xid: an index of all transaction_ids, or one of times, would cost ingest too much.
CREATE INDEX outbox_changed_idx ON outbox (transaction_id) WHERE operation <> 'added';

-- Takes the rows that no partition was made for in time; they are counted like all others.
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

-- One row for each dropped partition: rows of transactions up to `last_xid` of that cluster may
-- be gone. By it an audit can tell rows that were dropped on purpose from rows that are missing.
CREATE TABLE outbox_dropped (
    partition         text        NOT NULL,
    system_identifier bigint      NOT NULL,
    last_xid          xid8        NOT NULL,
    dropped_at        timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_dropped_last_xid_idx ON outbox_dropped (system_identifier, last_xid);

-- How large the database was, noted by the syncer every ten minutes and kept for some hours: how
-- fast it grows follows from it.
CREATE TABLE disk_usage (
    measured_at    timestamptz NOT NULL DEFAULT now(),
    database_bytes bigint      NOT NULL,
    CONSTRAINT disk_usage_pkey PRIMARY KEY (measured_at)
);

-- One row for each tick, numbered by `epoch`; `token` is random, so that the two name one tick of
-- one database. `snapshot` says what is counted; it means something in the cluster
-- `system_identifier` only. `rows` and `amount` are what was counted since the tick before.
-- `published_at` is when KeyDB first showed it, by KeyDB's clock. Two kinds have no boundary:
-- tick 0, the baseline of all that was there before us (0003), and interim ticks, written shortly
-- before a boundary so that less is left for its tick. Those are not shown: the next tick shows
-- what both of them changed.
CREATE TABLE tick (
    epoch             bigint      NOT NULL,
    token             text        NOT NULL,
    boundary          timestamptz,
    snapshot          pg_snapshot NOT NULL,
    system_identifier bigint      NOT NULL,
    rows              bigint      NOT NULL,
    amount            numeric     NOT NULL,
    folded_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at      timestamptz,
    interim           boolean     NOT NULL DEFAULT false,
    CONSTRAINT tick_pkey PRIMARY KEY (epoch),
    CONSTRAINT tick_boundary_key UNIQUE (boundary),
    CONSTRAINT tick_interim_check CHECK (NOT interim OR boundary IS NULL)
);

-- A provider's balance is its newest row. `key` is the name it is shown under, null where there
-- is nothing to show: the provider was removed, or is not there yet. `key_changed`: it is another
-- key than that of the provider's row before.
CREATE TABLE balance (
    provider_id bigint  NOT NULL,
    epoch       bigint  NOT NULL,
    key         text,
    key_changed boolean NOT NULL,
    balance     numeric NOT NULL,
    CONSTRAINT balance_pkey PRIMARY KEY (provider_id, epoch)
);

CREATE INDEX balance_epoch_idx ON balance (epoch);

-- A message that is not a row. The same identity and body twice is one dead letter: the broker
-- delivers again what was committed but not yet acknowledged.
CREATE TABLE dead_letter (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    message_id  text        NOT NULL,
    reason      text        NOT NULL,
    error       text        NOT NULL,
    queue       text        NOT NULL,
    body        bytea       NOT NULL,
    body_sha256 bytea       NOT NULL GENERATED ALWAYS AS (sha256(body)) STORED,
    properties  jsonb       NOT NULL,
    provider_id bigint,
    value       bigint,
    state       text        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT dead_letter_pkey PRIMARY KEY (id),
    CONSTRAINT dead_letter_message_id_body_key UNIQUE (message_id, body_sha256),
    CONSTRAINT dead_letter_state_check CHECK (state IN ('open', 'waiting')),
    CONSTRAINT dead_letter_waiting_check
        CHECK (state <> 'waiting' OR provider_id IS NOT NULL AND value IS NOT NULL)
);

CREATE INDEX dead_letter_waiting_idx ON dead_letter (provider_id, id) WHERE state = 'waiting';

-- What messages said whose row in historical_transactions was changed or deleted by hand since, or
-- was made different from its message by a trigger of the user's. Without this note such a message,
-- delivered again, would be taken for a new one or for a conflict. The table is read only for
-- messages that were delivered again, or whose identity has a row of other content.
CREATE TABLE received_message (
    message_id  text        NOT NULL,
    provider_id bigint      NOT NULL,
    value       bigint      NOT NULL,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    noted_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT received_message_pkey PRIMARY KEY (message_id, provider_id, value)
);

CREATE INDEX received_message_noted_at_idx ON received_message (noted_at);

-- How far a RabbitMQ stream was stored: one row for each batch, in the commit of its rows. Each
-- names the one it follows: of two readers that continue from the same place one fails here and
-- gives up. `deferred` is the first message, if any, that is neither row nor dead letter yet.
CREATE TABLE stream_offset (
    stream          text        NOT NULL,
    generation      text        NOT NULL,
    previous        bigint      NOT NULL,
    reached         bigint      NOT NULL,
    body_sha256     bytea       NOT NULL,
    deferred        bigint,
    deferred_sha256 bytea       NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stream_offset_pkey PRIMARY KEY (stream, reached),
    CONSTRAINT stream_offset_previous_key UNIQUE (stream, previous),
    CONSTRAINT stream_offset_order_check CHECK (previous < reached)
);

-- What operators did with the tool: written in the commit of what was done, and kept. `subject`
-- is the id of what was changed (a dead letter, a provider); `body` is what an edited message
-- said before, so that it is known as a duplicate when it comes again.
CREATE TABLE operator_action (
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    action        text        NOT NULL,
    subject       text        NOT NULL,
    outcome       text        NOT NULL,
    operator      text        NOT NULL,
    database_user text        NOT NULL DEFAULT session_user,
    detail        jsonb       NOT NULL DEFAULT '{}',
    body          bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT operator_action_pkey PRIMARY KEY (id)
);

CREATE INDEX operator_action_subject_idx ON operator_action (action, subject);
CREATE INDEX operator_action_message_id_idx ON operator_action ((detail ->> 'message_id'));
CREATE INDEX operator_action_new_message_id_idx ON operator_action ((detail ->> 'new_message_id'))
    WHERE detail ->> 'new_message_id' IS NOT NULL;
