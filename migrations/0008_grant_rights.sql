-- Each service may do what it is there for, and nothing else: ingest stores transactions and can
-- change no balance; the syncer writes ticks and balances and can add no transaction; operators mend
-- what the tool mends; readers look. Rights go to group roles without a login, to which whoever runs
-- the cluster adds the services' logins. The ticker has no business here.
--
-- Nobody but their owner, who migrates, may change tables. What the syncer has to do to the outbox
-- (partitions made, dropped, emptied) it does through functions that have their owner's rights since
-- 0002 and check what they are asked for. Who owns everything, as one user for all does, needs
-- nothing of this.
--
-- Roles belong to the cluster. Where they are missing and the migrating user may not make them, they
-- are left out and said to be missing: deploy/postgres/roles.sql makes them, and the next run of
-- python -m migrations, which calls this at every run, grants them their rights. So it does after a
-- restore.

CREATE FUNCTION minutebook_make_roles() RETURNS text[]
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    role    text;
    lacking text[] := '{}';
BEGIN
    FOREACH role IN ARRAY
        ARRAY['minutebook_ingest', 'minutebook_syncer', 'minutebook_ops', 'minutebook_reader']
    LOOP
        BEGIN
            IF to_regrole(role) IS NULL THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
            -- Else they do not see who waits for whose lock.
            IF role IN ('minutebook_ops', 'minutebook_reader')
               AND NOT pg_has_role(role, 'pg_read_all_stats', 'MEMBER') THEN
                EXECUTE format('GRANT pg_read_all_stats TO %I', role);
            END IF;
        EXCEPTION
            WHEN insufficient_privilege THEN
                lacking := lacking || role;
            WHEN unique_violation OR duplicate_object THEN
                NULL; -- made at this moment, from another database of the cluster
        END;
    END LOOP;
    RETURN lacking;
END
$$;

-- Grants what is missing; returns the roles that are, or that lack what only an administrator can
-- grant. A role gets the columns that it uses of the user's tables, and may fill those of ours that
-- do not say who, when or in which transaction.
CREATE FUNCTION minutebook_grant_rights() RETURNS text[]
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lacking text[] := minutebook_make_roles();
    line    record;
    columns text;
BEGIN
    -- Nobody changes the same tables at the same moment.
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0)),
            pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0));
    FOR line IN
        WITH one (role, may, kind, object, but) AS (VALUES
            ('ingest', 'USAGE', 'SCHEMA', quote_ident(current_schema()), ''),
            ('ingest', 'SELECT (id)', 'TABLE', 'initial_data', ''),
            ('ingest', 'SELECT (id, provider_id, transaction_value, message_id)', 'TABLE',
             'historical_transactions', ''),
            ('ingest', 'INSERT (provider_id, transaction_value, message_id)', 'TABLE',
             'historical_transactions', ''),
            ('ingest', 'USAGE', 'SEQUENCE', minutebook_transactions_sequence()::text, ''),
            ('ingest', 'EXECUTE', 'FUNCTION', 'minutebook_advance_sequence(text)', ''),
            ('ingest', 'INSERT (%s)', 'TABLE', 'outbox', 'id,xid,reason,created_at'),
            ('ingest', 'SELECT, DELETE', 'TABLE', 'dead_letter', ''),
            ('ingest', 'INSERT (%s)', 'TABLE', 'dead_letter', 'id,body_sha256,received_at'),
            ('ingest', 'UPDATE (state, reason, error)', 'TABLE', 'dead_letter', ''),
            ('ingest', 'SELECT, DELETE', 'TABLE', 'stream_offset', ''),
            ('ingest', 'INSERT (%s)', 'TABLE', 'stream_offset', 'created_at'),
            ('ingest', 'SELECT', 'TABLE', 'schema_migration', ''),

            ('syncer', 'USAGE', 'SCHEMA', quote_ident(current_schema()), ''),
            ('syncer', 'SELECT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('syncer', 'SELECT (provider_id, transaction_value)', 'TABLE',
             'historical_transactions', ''),
            ('syncer', 'SELECT', 'TABLE', 'outbox, outbox_default, schema_migration', ''),
            ('syncer', 'SELECT, INSERT, DELETE', 'TABLE', 'tick, balance', ''),
            ('syncer', 'UPDATE (boundary, published_at)', 'TABLE', 'tick', ''),
            ('syncer', 'EXECUTE', 'FUNCTION', 'minutebook_make_partition(timestamptz, interval),
             minutebook_drop_partition(text),
             minutebook_take_baseline(bigint, text, timestamptz)', ''),

            ('ops', 'USAGE', 'SCHEMA', quote_ident(current_schema()), ''),
            ('ops', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'initial_data', ''),
            ('ops', 'SELECT (id, provider_id, transaction_value, message_id, created_at)', 'TABLE',
             'historical_transactions', ''),
            ('ops', 'INSERT (provider_id, transaction_value, message_id)', 'TABLE',
             'historical_transactions', ''),
            ('ops', 'USAGE, SELECT', 'SEQUENCE', minutebook_transactions_sequence()::text, ''),
            ('ops', 'EXECUTE', 'FUNCTION', 'minutebook_advance_sequence(text),
             minutebook_id_sequence(text), minutebook_transactions_sequence(),
             minutebook_repair_default()', ''),
            ('ops', 'INSERT (%s)', 'TABLE', 'outbox', 'id,xid,created_at'),
            ('ops', 'SELECT, UPDATE, DELETE', 'TABLE', 'dead_letter', ''),
            ('ops', 'INSERT (%s)', 'TABLE', 'operator_action', 'id,database_user,created_at'),
            ('ops', 'SELECT', 'TABLE', 'outbox, outbox_default, outbox_dropped, tick, balance,
             stream_offset, operator_action, schema_migration', ''),
            ('ops', 'USAGE, SELECT', 'SEQUENCE', minutebook_id_sequence('initial_data')::text, ''),
            ('ops', 'SELECT', 'SEQUENCE', pg_get_serial_sequence('outbox', 'id'), ''),
            ('ops', 'SELECT', 'SEQUENCE', pg_get_serial_sequence('dead_letter', 'id'), ''),
            ('ops', 'SELECT', 'SEQUENCE', pg_get_serial_sequence('operator_action', 'id'), ''),

            ('reader', 'USAGE', 'SCHEMA', quote_ident(current_schema()), ''),
            ('reader', 'SELECT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('reader', 'SELECT (id, provider_id, transaction_value, message_id, created_at)',
             'TABLE', 'historical_transactions', ''),
            ('reader', 'SELECT (%s)', 'TABLE', 'dead_letter', 'body,properties,error,value'),
            ('reader', 'SELECT', 'TABLE', 'outbox, outbox_default, outbox_dropped, tick, balance,
             stream_offset, schema_migration', ''),
            ('reader', 'SELECT', 'SEQUENCE', minutebook_transactions_sequence()::text, ''),
            ('reader', 'SELECT', 'SEQUENCE', minutebook_id_sequence('initial_data')::text, ''),
            ('reader', 'SELECT', 'SEQUENCE', pg_get_serial_sequence('outbox', 'id'), ''),
            ('reader', 'SELECT', 'SEQUENCE', pg_get_serial_sequence('dead_letter', 'id'), ''),
            ('reader', 'EXECUTE', 'FUNCTION', 'minutebook_id_sequence(text),
             minutebook_transactions_sequence()', '')
        )
        SELECT 'minutebook_' || role AS role, may, kind, object, string_to_array(but, ',') AS but
          FROM one
         WHERE to_regrole('minutebook_' || role) IS NOT NULL
           AND object IS NOT NULL -- providers' ids may have no sequence
    LOOP
        columns := (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
                      FROM pg_attribute
                     WHERE line.may LIKE '%(\%s)'
                       AND attrelid = to_regclass(line.object)
                       AND attnum > 0
                       AND NOT attisdropped
                       AND attname <> ALL (line.but));
        EXECUTE format('GRANT %s ON %s %s TO %I',
                       replace(line.may, '%s', coalesce(columns, '')), line.kind, line.object,
                       line.role);
    END LOOP;
    RETURN lacking;
END
$$;

-- As in 0003, for what is new here.
DO $$
DECLARE
    ours regprocedure;
BEGIN
    FOR ours IN
        SELECT p.oid
          FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace
           AND p.proname IN ('minutebook_make_roles', 'minutebook_grant_rights')
    LOOP
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp', ours, current_schema());
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', ours);
    END LOOP;
END
$$;

SELECT minutebook_grant_rights();
