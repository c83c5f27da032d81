-- For clusters where the user that migrates may make no roles: run once, as one who may.
--
--   psql -f deploy/postgres/roles.sql, then python -m migrations again (it grants them their rights)
--
-- Also before a dump is restored into another cluster: a dump names these roles and makes none.
-- They are groups and cannot log in. Each service wants a login of its own in its group:
--
--   CREATE ROLE ingest LOGIN IN ROLE minutebook_ingest;   -- then \password ingest
--   CREATE ROLE syncer LOGIN IN ROLE minutebook_syncer;
--   CREATE ROLE ops    LOGIN IN ROLE minutebook_ops;
--   CREATE ROLE feed   LOGIN IN ROLE minutebook_feed;     -- where you run it; so the others
--
-- Or set POSTGRES_INGEST_PASSWORD and its like for python -m migrations, which makes them, and
-- with POSTGRES_EXPORTER_PASSWORD also one for postgres_exporter:
--
--   CREATE ROLE exporter LOGIN IN ROLE pg_monitor;
-- Roles belong to the cluster: the members of a group have its rights in every database of the
-- cluster that has a Minutebook in it and lets them connect.
DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY
        ARRAY['minutebook_ingest', 'minutebook_syncer', 'minutebook_feed', 'minutebook_notifier',
              'minutebook_tracker', 'minutebook_gateway', 'minutebook_observer',
              'minutebook_console', 'minutebook_ops', 'minutebook_reader']
    LOOP
        IF to_regrole(name) IS NULL THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        END IF;
    END LOOP;
END
$$;

-- So that `ops status` sees who waits for whose lock.
GRANT pg_read_all_stats TO minutebook_console, minutebook_ops, minutebook_reader;
