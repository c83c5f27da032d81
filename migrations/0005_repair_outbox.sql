-- Repairs: corrections of a balance with their reason, rows of the default partition moved where
-- they belong, and a note of what retention dropped, so that an audit of a tick can tell rows that
-- are gone by design from rows that are missing.

ALTER TABLE outbox ADD COLUMN reason text;

-- NOT VALID: what is there satisfies the narrower check that goes, so nobody has to wait while a
-- day's rows are read.
ALTER TABLE outbox DROP CONSTRAINT outbox_operation_check;
ALTER TABLE outbox ADD CONSTRAINT outbox_operation_check
    CHECK (operation IN ('added', 'modified', 'removed', 'repaired')) NOT VALID;
ALTER TABLE outbox ADD CONSTRAINT outbox_reason_check
    CHECK ((operation = 'repaired') = (reason IS NOT NULL)) NOT VALID;

-- One row per dropped partition: rows of transactions up to `last_xid` of that cluster may be gone.
CREATE TABLE outbox_dropped (
    partition         text        NOT NULL,
    system_identifier bigint      NOT NULL,
    last_xid          xid8        NOT NULL,
    dropped_at        timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX outbox_dropped_last_xid_idx ON outbox_dropped (system_identifier, last_xid);

-- What was dropped before anybody took notes.
INSERT INTO outbox_dropped (partition, system_identifier, last_xid)
SELECT 'before 0005', c.system_identifier, pg_current_xact_id()
  FROM pg_control_system() c
 WHERE EXISTS (SELECT FROM tick WHERE boundary IS NOT NULL);

-- What is decided after a lock must be seen after it, or rows that came meanwhile would be lost.
CREATE FUNCTION minutebook_require_read_committed() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'this needs READ COMMITTED, not %', current_setting('transaction_isolation');
    END IF;
END
$$;

-- As before, and takes the note. Writers wait for what is done under the lock, so that must not
-- depend on how many rows go: with the snapshot from a join, or both conditions in one, the planner
-- has all of them read. Only the parent and the partition are locked, not its sisters.
CREATE OR REPLACE FUNCTION minutebook_drop_partition(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    counted   pg_snapshot;
    uncounted boolean;
BEGIN
    PERFORM minutebook_require_read_committed();
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0));
    IF to_regclass(name) IS NULL THEN
        RETURN false; -- another syncer was first
    END IF;
    counted := (SELECT snapshot FROM tick ORDER BY epoch DESC LIMIT 1);
    EXECUTE format('LOCK TABLE ONLY outbox, ONLY %I IN ACCESS EXCLUSIVE MODE', name);
    EXECUTE format(
        'SELECT EXISTS (SELECT FROM %1$I WHERE xid >= pg_snapshot_xmax($1))
             OR EXISTS (SELECT FROM %1$I WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))))',
        name)
       INTO uncounted
      USING counted;
    IF uncounted THEN
        RETURN false;
    END IF;
    EXECUTE format(
        'INSERT INTO outbox_dropped (partition, system_identifier, last_xid)
         SELECT %L, c.system_identifier, o.xid
           FROM pg_control_system() c, (SELECT xid FROM %I ORDER BY xid DESC LIMIT 1) AS o',
        name, name);
    EXECUTE format('ALTER TABLE outbox DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
    RETURN true;
END
$$;

-- Gives the rows of the default partition the hourly partitions that were not made in time; returns
-- how many rows that were. Each keeps its xid, by which it is counted or was counted, so that for
-- every reader it is there exactly once.
--
-- Most of it is copied beside readers and writers. Only the last step needs them out of the way,
-- for milliseconds: what committed meanwhile is added, and the tables change places. The parent is
-- locked first: a reader that had to wait for the default partition alone would go on with the list
-- of partitions from before, and miss what moved.
CREATE FUNCTION minutebook_repair_default() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    attempts_max constant integer := 20;
    pause_s      constant float8  := 0.1;
    -- One is the opposite of the other; the second can be looked up.
    before       constant text := 'pg_visible_in_snapshot(xid, $1)';
    since        constant text := '(xid >= pg_snapshot_xmax($1)'
                                  ' OR xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))))';
    condition    text;
    seen         pg_snapshot;
    hour         timestamptz;
    hours        timestamptz[] := '{}';
    name         text;
    copied       bigint;
    moved        bigint := 0;
BEGIN
    PERFORM minutebook_require_read_committed();
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0));
    LOCK TABLE ONLY outbox IN SHARE UPDATE EXCLUSIVE MODE; -- no partition comes or goes but ours
    IF NOT EXISTS (SELECT FROM outbox_default) THEN
        RETURN 0;
    END IF;
    seen := pg_current_snapshot();
    FOREACH condition IN ARRAY ARRAY[before, since] LOOP
        IF condition = since THEN
            FOR attempt IN 1 .. attempts_max LOOP
                BEGIN
                    LOCK TABLE ONLY outbox, ONLY outbox_default IN ACCESS EXCLUSIVE MODE;
                    EXIT;
                EXCEPTION WHEN lock_not_available THEN
                    IF attempt = attempts_max THEN
                        RAISE;
                    END IF;
                    PERFORM pg_sleep(pause_s);
                END;
            END LOOP;
        END IF;
        FOR hour IN EXECUTE format(
            'SELECT DISTINCT date_trunc(''hour'', created_at, ''UTC'')
               FROM outbox_default
              WHERE %s', condition) USING seen
        LOOP
            name := 'outbox_' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDD_HH24');
            IF hour <> ALL (hours) THEN
                -- The check spares ATTACH from reading the rows again.
                EXECUTE format(
                    'CREATE TABLE %I (LIKE outbox INCLUDING ALL EXCLUDING IDENTITY,
                     CONSTRAINT outbox_hour_check CHECK (created_at >= %L AND created_at < %L))',
                    name, hour, hour + interval '1 hour');
                hours := hours || hour;
            END IF;
            EXECUTE format(
                'INSERT INTO %I (id, xid, transaction_id, provider_id, amount, operation,
                                 created_at, reason)
                 SELECT id, xid, transaction_id, provider_id, amount, operation, created_at, reason
                   FROM outbox_default
                  WHERE created_at >= $2
                    AND created_at < $3
                    AND %s', name, condition) USING seen, hour, hour + interval '1 hour';
            GET DIAGNOSTICS copied = ROW_COUNT;
            moved := moved + copied;
        END LOOP;
    END LOOP;
    TRUNCATE outbox_default;
    FOREACH hour IN ARRAY hours LOOP
        name := 'outbox_' || to_char(hour AT TIME ZONE 'UTC', 'YYYYMMDD_HH24');
        EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       name, hour, hour + interval '1 hour');
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT outbox_hour_check', name);
    END LOOP;
    RETURN moved;
END
$$;

-- As in 0003, for what is new here or was replaced.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT p.oid
          FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace
           AND p.proname LIKE 'minutebook\_%'
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', ours, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', ours);
    END LOOP;
END
$$;
