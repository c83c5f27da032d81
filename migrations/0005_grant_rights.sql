-- Each service may do what it is there for, and nothing else: ingest stores transactions and can
-- change no balance; the syncer writes ticks and balances and can add no transaction; operators
-- correct what their tool corrects, the console a part of that; followers read ticks and write
-- where they stand; readers read. Rights go to group roles without a login, to
-- which the services' logins are added. The ticker needs no database. Only the owner, who
-- migrates, may change tables; one user who owns everything needs nothing of this.
--
-- Roles belong to the cluster. Where they are missing and the migrating user may not make them,
-- they are left out and reported: an administrator runs deploy/postgres/roles.sql, and the next
-- run of python -m migrations, which calls minutebook_grant_rights() every time, grants them
-- their rights. So it does after a restore.

-- Makes the groups that are missing; returns those that it may not make or complete.
CREATE FUNCTION minutebook_make_roles() RETURNS text[]
    LANGUAGE plpgsql AS $$
DECLARE
    role    text;
    lacking text[] := '{}';
BEGIN
    FOREACH role IN ARRAY
        ARRAY['minutebook_ingest', 'minutebook_syncer', 'minutebook_feed', 'minutebook_notifier',
              'minutebook_tracker', 'minutebook_gateway', 'minutebook_console',
              'minutebook_ops', 'minutebook_reader']
    LOOP
        BEGIN
            IF to_regrole(role) IS NULL THEN
                EXECUTE format('CREATE ROLE %I NOLOGIN', role);
            END IF;
            -- Otherwise they do not see who waits for whose lock.
            IF role IN ('minutebook_console', 'minutebook_ops', 'minutebook_reader')
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

-- Grants what is missing; returns what minutebook_make_roles() does. A role gets the columns that
-- it uses of the user's tables. It may fill all columns of ours (%s) but those that say who, when
-- or in which transaction. A table that a later migration makes is left out until then.
CREATE FUNCTION minutebook_grant_rights() RETURNS text[]
    LANGUAGE plpgsql AS $$
DECLARE
    lacking         text[]   := minutebook_make_roles();
    provider_ids    regclass := minutebook_id_sequence('initial_data');
    transaction_ids regclass := minutebook_transactions_sequence();
    outbox_ids      text     := pg_get_serial_sequence('outbox', 'id');
    dead_letter_ids text     := pg_get_serial_sequence('dead_letter', 'id');
    line            record;
    columns         text;
BEGIN
    -- Nobody changes the same tables at the same moment.
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0)),
            pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0));
    FOR line IN
        WITH one (roles, may, kind, object, but) AS (VALUES
            ('ingest,syncer,feed,notifier,tracker,gateway,console,ops,reader', 'USAGE', 'SCHEMA',
             quote_ident(current_schema()), ''),
            ('ingest,syncer,feed,notifier,tracker,gateway,console,ops,reader', 'SELECT', 'TABLE',
             'schema_migration', ''),

            ('ingest', 'SELECT (id, xmin)', 'TABLE', 'initial_data', ''),
            ('ingest', 'SELECT (id, provider_id, transaction_value, message_id)', 'TABLE',
             'historical_transactions', ''),
            ('ingest,console,ops', 'INSERT (provider_id, transaction_value, message_id)', 'TABLE',
             'historical_transactions', ''),
            ('ingest,console', 'USAGE', 'SEQUENCE', transaction_ids::text, ''),
            ('ingest,console,ops', 'EXECUTE', 'FUNCTION', 'minutebook_advance_sequence(text)', ''),
            ('ingest,console', 'INSERT (%s)', 'TABLE', 'outbox', 'id,xid,reason,created_at'),
            ('ingest', 'SELECT, DELETE', 'TABLE', 'dead_letter, stream_offset', ''),
            ('ingest', 'INSERT (%s)', 'TABLE', 'dead_letter', 'id,body_sha256,received_at'),
            ('ingest', 'UPDATE (state, reason, error)', 'TABLE', 'dead_letter', ''),
            ('ingest', 'INSERT (%s)', 'TABLE', 'stream_offset', 'created_at'),
            ('ingest', 'UPDATE (deferred, deferred_sha256)', 'TABLE', 'stream_offset', ''),
            ('ingest,console,ops', 'SELECT, INSERT (message_id, provider_id, value)', 'TABLE',
             'received_message', ''),
            ('ingest', 'SELECT (action, detail, body)', 'TABLE', 'operator_action', ''),

            ('syncer', 'SELECT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('syncer', 'SELECT (provider_id, transaction_value)', 'TABLE',
             'historical_transactions', ''),
            ('syncer', 'SELECT', 'TABLE', 'outbox, outbox_default', ''),
            ('syncer', 'SELECT, INSERT, DELETE', 'TABLE', 'tick, balance', ''),
            ('syncer', 'UPDATE (boundary, published_at)', 'TABLE', 'tick', ''),
            ('syncer', 'SELECT, DELETE', 'TABLE', 'received_message', ''),
            ('syncer', 'SELECT, DELETE, INSERT (database_bytes)', 'TABLE', 'disk_usage', ''),
            ('syncer', 'EXECUTE', 'FUNCTION', 'minutebook_make_partition(timestamptz, interval),
             minutebook_drop_partition(text),
             minutebook_take_baseline(bigint, text, timestamptz)', ''),

            ('feed', 'SELECT (id, message_id)', 'TABLE', 'historical_transactions', ''),
            ('feed', 'SELECT', 'TABLE', 'outbox', ''),
            ('feed,notifier,tracker', 'SELECT', 'TABLE', 'tick, balance', ''),
            ('feed,notifier,tracker', 'SELECT', 'TABLE', 'follower', ''),
            ('feed,notifier,tracker', 'INSERT (%s)', 'TABLE', 'follower', ''),
            ('feed,notifier,tracker', 'UPDATE (%s)', 'TABLE', 'follower', 'name'),
            ('notifier', 'SELECT', 'TABLE', 'alert', ''),
            ('notifier,console,ops', 'INSERT (%s)', 'TABLE', 'alert', 'id,xid,created_at'),
            ('notifier,console,ops', 'UPDATE (%s)', 'TABLE', 'alert', 'id,created_at'),
            ('notifier', 'SELECT, DELETE', 'TABLE', 'notification', ''),
            ('notifier', 'INSERT (%s)', 'TABLE', 'notification', 'created_at'),
            ('notifier', 'UPDATE (sent_at, delivered_at, error)', 'TABLE', 'notification', ''),
            ('notifier', 'SELECT (message_id, body_sha256)', 'TABLE', 'dead_letter', ''),
            -- without provider_id and value none can wait to become a transaction
            ('notifier,tracker', 'INSERT (%s)', 'TABLE', 'dead_letter',
             'id,body_sha256,received_at,provider_id,value'),
            ('tracker', 'SELECT, DELETE', 'TABLE', 'request', ''),
            ('tracker', 'INSERT (%s)', 'TABLE', 'request', 'accepted_at'),
            ('tracker', 'UPDATE (%s)', 'TABLE', 'request',
             'id,kind,submitted_by,items,digest,accepted_at'),
            ('tracker', 'SELECT (message_id, body_sha256, state, reason, error)', 'TABLE',
             'dead_letter', ''),
            ('tracker', 'SELECT (id, provider_name)', 'TABLE', 'initial_data', ''),
            ('tracker',
             'SELECT (id, provider_id, transaction_value, message_id, created_at, xmin)', 'TABLE',
             'historical_transactions', ''),
            ('tracker', 'SELECT', 'TABLE', 'outbox, outbox_dropped, received_message', ''),

            -- It answers questions, and changes nothing.
            ('gateway', 'SELECT (id)', 'TABLE', 'initial_data', ''),
            ('gateway',
             'SELECT (id, provider_id, transaction_value, message_id, created_at, xmin)', 'TABLE',
             'historical_transactions', ''),
            ('gateway', 'SELECT', 'TABLE', 'outbox, outbox_dropped, tick, balance,
             received_message', ''),
            ('gateway', 'SELECT', 'TABLE', 'alert', ''),
            ('gateway', 'SELECT', 'TABLE', 'notification', ''),
            ('gateway',
             'SELECT (id, message_id, body_sha256, state, reason, error, queue, received_at)',
             'TABLE', 'dead_letter', ''),
            ('gateway', 'SELECT', 'TABLE', 'request', ''),

            -- It shows everything; it replays and purges dead letters, and adds providers.
            ('console', 'SELECT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('console', 'INSERT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('console', 'SELECT', 'TABLE', 'follower', ''),

            ('ops', 'SELECT, UPDATE, DELETE', 'TABLE', 'follower', ''),
            ('console,ops', 'SELECT', 'TABLE', 'alert', ''),
            ('console,ops', 'SELECT, UPDATE (delivered_at)', 'TABLE', 'notification', ''),
            ('console,ops', 'SELECT', 'TABLE', 'request', ''),
            ('reader', 'SELECT (%s)', 'TABLE', 'request', 'values,outcome,error'),
            ('reader', 'SELECT', 'TABLE', 'follower', ''),
            ('reader', 'SELECT', 'TABLE', 'alert', ''),
            ('reader', 'SELECT', 'TABLE', 'notification', ''),

            ('ops', 'SELECT, INSERT, UPDATE, DELETE', 'TABLE', 'initial_data', ''),
            ('ops', 'INSERT (%s)', 'TABLE', 'outbox', 'id,xid,created_at'),
            ('console,ops', 'SELECT, UPDATE, DELETE', 'TABLE', 'dead_letter', ''),
            ('console,ops', 'INSERT (%s)', 'TABLE', 'operator_action',
             'id,database_user,created_at'),
            ('console,ops', 'SELECT', 'TABLE', 'operator_action', ''),
            ('ops', 'EXECUTE', 'FUNCTION', 'minutebook_repair_default()', ''),
            ('ops', 'USAGE', 'SEQUENCE', concat_ws(', ', transaction_ids, provider_ids), ''),
            ('console,ops', 'SELECT', 'SEQUENCE',
             pg_get_serial_sequence('operator_action', 'id'), ''),

            ('reader', 'SELECT (id, provider_name, initial_value)', 'TABLE', 'initial_data', ''),
            ('reader', 'SELECT (%s)', 'TABLE', 'dead_letter', 'body,properties,error,value'),
            ('reader', 'SELECT', 'TABLE', 'received_message', ''),

            ('console,ops,reader',
             'SELECT (id, provider_id, transaction_value, message_id, created_at, xmin)', 'TABLE',
             'historical_transactions', ''),
            ('console,ops,reader', 'SELECT', 'TABLE', 'outbox, outbox_default, outbox_dropped, tick,
             balance, stream_offset, disk_usage', ''),
            ('console,ops,reader', 'SELECT', 'SEQUENCE',
             concat_ws(', ', transaction_ids, provider_ids, outbox_ids, dead_letter_ids), ''),
            ('console,ops,reader', 'EXECUTE', 'FUNCTION', 'minutebook_id_sequence(text),
             minutebook_transactions_sequence()', '')
        )
        SELECT 'minutebook_' || role AS role, may, kind, there.object,
               string_to_array(but, ',') AS but
          FROM one
         CROSS JOIN LATERAL (
               SELECT CASE WHEN kind = 'TABLE'
                           THEN string_agg(name, ', ') FILTER (WHERE to_regclass(name) IS NOT NULL)
                           ELSE one.object END AS object
                 FROM unnest(string_to_array(one.object, ',')) AS name
               ) AS there
         CROSS JOIN unnest(string_to_array(roles, ',')) AS role
         WHERE to_regrole('minutebook_' || role) IS NOT NULL
           AND there.object <> '' -- ids may have no sequence, now or later
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

-- Our functions have their owner's rights: they must see our tables only (a temporary table named
-- like one of ours would come first otherwise), and nobody else has to call them. Those that are
-- called turn times into text and back and read tables: what their caller's session has set must
-- not matter. Triggers depend on no such setting, and need not pay for it in every statement.
DO $$
DECLARE
    ours record;
BEGIN
    FOR ours IN
        SELECT p.oid::regprocedure AS name, p.prorettype = 'trigger'::regtype AS is_trigger
          FROM pg_proc p
         WHERE p.pronamespace = current_schema()::regnamespace
           AND p.proname LIKE 'minutebook\_%'
    LOOP
        EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', ours.name);
        EXECUTE format('ALTER FUNCTION %s SET search_path = %I, pg_temp',
                       ours.name, current_schema());
        CONTINUE WHEN ours.is_trigger;
        EXECUTE format(
            'ALTER FUNCTION %s SET datestyle = ''ISO, MDY'' SET timezone = ''UTC''
             SET standard_conforming_strings = on SET row_security = off', ours.name);
    END LOOP;
END
$$;

SELECT minutebook_grant_rights();
