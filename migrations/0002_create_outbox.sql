-- Ours. Everything that decides about money is insert-only, so that no long transaction beside us
-- can make it slow: a row updated once a tick would keep all its versions for as long as a snapshot
-- somewhere needs them.

-- What changed and in which transaction. Read as the difference of two snapshots, as PgQ does.
-- `amount` is what the change adds to the provider's balance; numeric, because taking back the
-- least bigint goes beyond bigint. A change of the provider itself (its
-- initial value, its name, its coming and going) has no transaction_id.
CREATE TABLE outbox (
    id             bigint      GENERATED ALWAYS AS IDENTITY,
    xid            xid8        NOT NULL DEFAULT pg_current_xact_id(),
    transaction_id bigint,
    provider_id    bigint      NOT NULL,
    amount         numeric     NOT NULL,
    operation      text        NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT outbox_operation_check CHECK (operation IN ('added', 'modified', 'removed'))
) PARTITION BY RANGE (created_at);

CREATE INDEX outbox_xid_idx ON outbox (xid);

-- The backstop: a row that no partition was made for in time is right here, and reported.
CREATE TABLE outbox_default PARTITION OF outbox DEFAULT;

-- One row per boundary. `snapshot` is what had been counted; `system_identifier` is the cluster in
-- which that snapshot means anything. The baseline is a tick without a boundary.
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
    CONSTRAINT tick_pkey PRIMARY KEY (epoch),
    CONSTRAINT tick_boundary_key UNIQUE (boundary)
);

-- Append-only: a provider's balance is its newest row. `key` is the name it is shown under, null
-- where there is nothing to show: the provider is gone, or not there yet.
CREATE TABLE balance (
    provider_id bigint  NOT NULL,
    epoch       bigint  NOT NULL,
    key         text,
    key_changed boolean NOT NULL,
    balance     numeric NOT NULL,
    CONSTRAINT balance_pkey PRIMARY KEY (provider_id, epoch)
);

CREATE INDEX balance_epoch_idx ON balance (epoch);

-- A message that is not a row. Same identity and same body twice is one dead letter: the broker
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

-- A tick cannot count what its own transaction writes: its snapshot came before. Corrections go
-- into transactions of their own.
CREATE FUNCTION minutebook_refuse_own_rows() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF EXISTS (SELECT FROM outbox WHERE xid = pg_current_xact_id()) THEN
        RAISE EXCEPTION 'tick % was written by a transaction that also wrote to the outbox', NEW.epoch;
    END IF;
    RETURN NULL;
END
$$;

CREATE CONSTRAINT TRIGGER tick_refuse_own_rows
    AFTER INSERT ON tick
    DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION minutebook_refuse_own_rows();

-- A name for the partition that begins then. Whatever somebody else gave that name to stays.
CREATE FUNCTION minutebook_partition_name(begins timestamptz) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    wanted text    := 'outbox_' || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD_HH24');
    name   text    := wanted;
    next   integer := 2;
BEGIN
    WHILE to_regclass(name) IS NOT NULL OR to_regtype(name) IS NOT NULL LOOP
        name := wanted || '_' || next;
        next := next + 1;
    END LOOP;
    RETURN name;
END
$$;

-- Makes the partition of the outbox that begins at `first`, if it is not there. LIKE and ATTACH
-- instead of PARTITION OF: that would lock out the writers of all the others.
CREATE FUNCTION minutebook_make_partition(
    first timestamptz, span interval DEFAULT interval '1 hour') RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    name text := 'outbox_' || to_char(first AT TIME ZONE 'UTC', 'YYYYMMDD_HH24');
BEGIN
    -- Two syncers may find it missing at the same moment.
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING ALL EXCLUDING IDENTITY)', name);
    EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   name, first, first + span);
    RETURN true;
END
$$;

-- Drops a partition of which everything has been counted; says whether it did. Only in this order:
-- with the check before the locks, rows of a transaction that commits while we wait would be lost.
CREATE FUNCTION minutebook_drop_partition(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    uncounted boolean;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0));
    IF to_regclass(name) IS NULL THEN
        RETURN false; -- another syncer was first
    END IF;
    EXECUTE format('LOCK TABLE outbox, %I IN ACCESS EXCLUSIVE MODE', name);
    EXECUTE format(
        'SELECT EXISTS (
            SELECT
              FROM %I o, (SELECT snapshot FROM tick ORDER BY epoch DESC LIMIT 1) AS t
             WHERE o.xid >= pg_snapshot_xmax(t.snapshot)
                OR o.xid = ANY (ARRAY(SELECT pg_snapshot_xip(t.snapshot))))', name)
       INTO uncounted;
    IF uncounted THEN
        RETURN false;
    END IF;
    EXECUTE format('ALTER TABLE outbox DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END
$$;

SELECT minutebook_make_partition(date_trunc('hour', now(), 'UTC') + make_interval(hours => ahead))
  FROM generate_series(0, 2) AS ahead;
