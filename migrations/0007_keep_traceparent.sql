-- The W3C trace context that a transaction's message came with, if ingest was told to trace: the
-- tick that counts the row links to it. No default, so nothing is rewritten; existing partitions get
-- the column with their parent, later ones are made like it.
ALTER TABLE outbox ADD COLUMN traceparent text;

-- As in 0005, for whatever columns there are: a row that moves keeps all of them.
CREATE OR REPLACE FUNCTION minutebook_repair_default() RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT SET enable_seqscan = off AS $$
DECLARE
    attempts_max constant integer := 20;
    pause_s      constant float8  := 0.1;
    -- One is the opposite of the other; the second can be looked up.
    before       constant text := 'pg_visible_in_snapshot(xid, $1)';
    since        constant text := '(xid >= pg_snapshot_xmax($1)'
                                  ' OR xid = ANY (ARRAY(SELECT pg_snapshot_xip($1))))';
    columns      text;
    condition    text;
    seen         pg_snapshot;
    hour         timestamptz;
    hours        timestamptz[] := '{}';
    names        text[] := '{}';
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
    columns := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                  FROM pg_attribute
                 WHERE attrelid = 'outbox'::regclass
                   AND attnum > 0
                   AND NOT attisdropped);
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
            name := names[array_position(hours, hour)];
            IF name IS NULL THEN
                name := minutebook_partition_name(hour);
                -- The check spares ATTACH from reading the rows again.
                EXECUTE format(
                    'CREATE TABLE %I (LIKE outbox INCLUDING ALL EXCLUDING IDENTITY,
                     CONSTRAINT outbox_hour_check CHECK (created_at >= %L AND created_at < %L))',
                    name, hour, hour + interval '1 hour');
                hours := hours || hour;
                names := names || name;
            END IF;
            EXECUTE format(
                'INSERT INTO %1$I (%2$s)
                 SELECT %2$s
                   FROM outbox_default
                  WHERE created_at >= $2
                    AND created_at < $3
                    AND %3$s', name, columns, condition) USING seen, hour, hour + interval '1 hour';
            GET DIAGNOSTICS copied = ROW_COUNT;
            moved := moved + copied;
        END LOOP;
    END LOOP;
    TRUNCATE outbox_default;
    FOR hour, name IN SELECT * FROM unnest(hours, names) LOOP
        EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                       name, hour, hour + interval '1 hour');
        EXECUTE format('ALTER TABLE %I DROP CONSTRAINT outbox_hour_check', name);
    END LOOP;
    RETURN moved;
END
$$;

-- As in 0003, for what was replaced here.
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
