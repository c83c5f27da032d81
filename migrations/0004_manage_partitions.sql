-- The outbox's partitions: made ahead and dropped behind by the syncer, repaired by operators.
-- They have no rights to the tables for that; these functions have their owner's.

-- Makes the partition of `parent` that `first` lies in, if there is none; says whether it did. Beside
-- partitions of another span it takes the gap that they leave; its name is one that is still free.
-- LIKE and ATTACH instead of PARTITION OF, which would lock out writers of all other partitions.
-- Inserts alone do not make Postgres vacuum it: it is dropped before its rows have to be frozen, or
-- frozen by itself when they have.
CREATE FUNCTION minutebook_make_partition_of(parent regclass, first timestamptz, span interval)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    begins    timestamptz := date_bin(span, first, timestamptz '1970-01-01 00:00:00+00');
    ends      timestamptz := begins + span;
    neighbour record;
    wanted    text;
    name      text;
    next      integer := 2;
BEGIN
    -- Two syncers may find it missing at the same moment.
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0));
    FOR neighbour IN
        SELECT b.range[1]::timestamptz AS begins, b.range[2]::timestamptz AS ends
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         CROSS JOIN LATERAL (
               SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid),
                                   'FROM \(''(.+)''\) TO \(''(.+)''\)') AS range) AS b
         WHERE i.inhparent = parent
           AND b.range IS NOT NULL
    LOOP
        IF first >= neighbour.begins AND first < neighbour.ends THEN
            RETURN false;
        ELSIF neighbour.ends <= first THEN
            begins := greatest(begins, neighbour.ends);
        ELSE
            ends := least(ends, neighbour.begins);
        END IF;
    END LOOP;
    wanted := 'outbox_' || to_char(begins AT TIME ZONE 'UTC', 'YYYYMMDD_HH24');
    name := wanted;
    WHILE to_regclass(name) IS NOT NULL OR to_regtype(name) IS NOT NULL LOOP
        name := wanted || '_' || next;
        next := next + 1;
    END LOOP;
    EXECUTE format(
        'CREATE TABLE %I (LIKE outbox INCLUDING ALL EXCLUDING IDENTITY)
           WITH (autovacuum_vacuum_insert_threshold = -1)', name);
    EXECUTE format('ALTER TABLE %s ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, begins, ends);
    IF parent <> 'outbox'::regclass THEN -- it spares the outbox's own ATTACH from reading the rows
        EXECUTE format('ALTER TABLE %I ADD CONSTRAINT outbox_range_check
                        CHECK (created_at >= %L AND created_at < %L)', name, begins, ends);
    END IF;
    RETURN true;
END
$$;

-- Four hours each: every read of what is fresh looks into the index of each partition, so its cost
-- grows with their number.
CREATE FUNCTION minutebook_make_partition(
    first timestamptz, span interval DEFAULT interval '4 hours') RETURNS boolean
    LANGUAGE sql SECURITY DEFINER AS $$
SELECT minutebook_make_partition_of('outbox', first, span)
$$;

-- A statement after a lock must see what was committed before it got the lock.
CREATE FUNCTION minutebook_require_read_committed() RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'this needs READ COMMITTED, not %', current_setting('transaction_isolation');
    END IF;
END
$$;

-- Drops a partition of which everything was counted, and notes it; says whether it did. The check
-- comes after the locks: otherwise rows of a transaction that commits while we wait would be
-- lost. Writers wait while the locks are held, so the check must not read all rows, as the
-- planner would with the snapshot from a join or with both conditions in one. Other partitions
-- are not locked.
CREATE FUNCTION minutebook_drop_partition(name text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off AS $$
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

-- Moves the rows of the default partition into hourly partitions, which were not made in time;
-- returns how many rows that were. Each keeps its xid, by which it is counted or was counted, so
-- that every reader finds it exactly once.
--
-- Most rows are copied, into partitions of another table, while others read and write. Only the last
-- step, some milliseconds, locks them out: it copies what was committed meanwhile and gives the
-- outbox these partitions. The parent is locked first: a reader that waited for the default
-- partition alone would go on with the list of partitions from before, and miss what moved.
CREATE FUNCTION minutebook_repair_default() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = off AS $$
DECLARE
    attempts_max constant integer := 20;
    pause_s      constant float8  := 0.1;
    -- Each is the opposite of the other; the second can use the index.
    before       constant text := 'pg_visible_in_snapshot(xid, $1)';
    since        constant text := '(xid >= pg_snapshot_xmax($1)'
                                  ' OR xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))))';
    condition    text;
    seen         pg_snapshot;
    part         record;
    copied       bigint;
    moved        bigint := 0;
BEGIN
    PERFORM minutebook_require_read_committed();
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0));
    LOCK TABLE ONLY outbox IN SHARE UPDATE EXCLUSIVE MODE; -- no partition comes or goes but ours
    IF NOT EXISTS (SELECT FROM outbox_default) THEN
        RETURN 0;
    END IF;
    CREATE TABLE outbox_repair (LIKE outbox) PARTITION BY RANGE (created_at);
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
        EXECUTE format(
            'SELECT minutebook_make_partition_of(''outbox_repair'', hour, interval ''1 hour'')
               FROM (SELECT DISTINCT date_trunc(''hour'', created_at, ''UTC'') AS hour
                       FROM outbox_default
                      WHERE %s) AS missing', condition) USING seen;
        -- Both have the same columns, in the same order.
        EXECUTE format(
            'INSERT INTO outbox_repair
             SELECT *
               FROM outbox_default
              WHERE %s', condition) USING seen;
        GET DIAGNOSTICS copied = ROW_COUNT;
        moved := moved + copied;
    END LOOP;
    TRUNCATE outbox_default;
    FOR part IN
        SELECT c.oid::regclass AS name, pg_get_expr(c.relpartbound, c.oid) AS bounds
          FROM pg_inherits i
          JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = 'outbox_repair'::regclass
    LOOP
        EXECUTE format('ALTER TABLE outbox_repair DETACH PARTITION %s', part.name);
        EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %s %s', part.name, part.bounds);
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT outbox_range_check', part.name);
    END LOOP;
    DROP TABLE outbox_repair;
    RETURN moved;
END
$$;

SELECT minutebook_make_partition(now() + make_interval(hours => hours))
  FROM unnest(ARRAY[0, 4]) AS hours;
