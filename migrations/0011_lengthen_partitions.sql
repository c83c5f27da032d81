-- Four hours of the outbox to a partition instead of one: every read of what is fresh looks into the
-- index of each, so what it costs grows with their number. Those that are there stay as they are.
--
-- Makes the partition that `first` lies in, if there is none. LIKE and ATTACH instead of PARTITION
-- OF: that would lock out the writers of all the others. Beside those of another span (a repair's,
-- or of another OUTBOX_RETENTION_HOURS) it takes the gap that they leave.
CREATE OR REPLACE FUNCTION minutebook_make_partition(
    first timestamptz, span interval DEFAULT interval '4 hours') RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    begins    timestamptz := date_bin(span, first, timestamptz '1970-01-01 00:00:00+00');
    ends      timestamptz := begins + span;
    neighbour record;
    name      text;
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
         WHERE i.inhparent = 'outbox'::regclass
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
    name := minutebook_partition_name(begins);
    EXECUTE format('CREATE TABLE %I (LIKE outbox INCLUDING ALL EXCLUDING IDENTITY)', name);
    EXECUTE format('ALTER TABLE outbox ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   name, begins, ends);
    RETURN true;
END
$$;

-- As in 0003, for all that is ours by now. Functions that are called, and are no triggers, turn times
-- into text and back and read tables: what their caller's session has set must not matter. Triggers
-- depend on no such setting, and need not pay for it in every statement.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT p.oid
          FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace
           AND p.proname LIKE 'minutebook\_%'
           AND p.prorettype <> 'trigger'::regtype
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', ours, current_schema());
        EXECUTE format('ALTER FUNCTION %s SET datestyle = ''ISO, MDY''', ours);
        EXECUTE format('ALTER FUNCTION %s SET timezone = ''UTC''', ours);
        EXECUTE format('ALTER FUNCTION %s SET standard_conforming_strings = on', ours);
        EXECUTE format('ALTER FUNCTION %s SET row_security = off', ours);
    END LOOP;
END
$$;
