-- Each service may do what it is there for, and nothing else: ingest stores transactions and can
-- change no balance; the syncer writes ticks and balances and can add no transaction; operators
-- correct what their tool corrects, the console a part of that; followers read ticks and write
-- where they stand; the gateway answers questions and changes nothing; the observer keeps when what
-- was seen, apart from all money; readers read. Rights go to
-- group roles without a login, to which the services' logins are added. The ticker needs no
-- database. Only the owner, who migrates, may change tables; one user who owns everything needs
-- nothing of this.

-- Makes the groups that are missing and grants all of them their rights; returns the groups that it
-- may not make or complete. Roles belong to the cluster: where the migrating user may make none, an
-- administrator runs deploy/postgres/roles.sql. python -m migrations calls this at every run, so
-- that the next one grants what was not granted yet, also after a restore.
CREATE FUNCTION minutebook_grant_rights() RETURNS text[]
    LANGUAGE plpgsql AS $$
DECLARE
    every           text     := 'ingest, syncer, feed, notifier, tracker, gateway, observer,'
                                ' console, ops, reader';
    provider_ids    regclass := minutebook_id_sequence('initial_data');
    transaction_ids regclass := minutebook_id_sequence('historical_transactions');
    outbox_ids      text     := pg_get_serial_sequence('outbox', 'id');
    dead_letter_ids text     := pg_get_serial_sequence('dead_letter', 'id');
    action_ids      text     := pg_get_serial_sequence('operator_action', 'id');
    lacking         text[]   := '{}';
    role            text;
    line            record;
BEGIN
    FOR role IN SELECT 'minutebook_' || name FROM string_to_table(every, ', ') AS name LOOP
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

    -- Nobody changes the same tables at the same moment.
    PERFORM pg_advisory_xact_lock(hashtextextended('minutebook:partitions', 0)),
            pg_advisory_xact_lock(hashtextextended('minutebook:tick', 0));
    FOR line IN
        -- What is no table is named with its kind. Of the user's tables a role gets the columns
        -- that it uses; of ours it fills all but those that say who, when or in which transaction.
        WITH one (may, objects, roles) AS (VALUES
            ('USAGE', 'SCHEMA ' || quote_ident(current_schema()), every),
            ('SELECT', 'schema_migration', every),

            ('SELECT (id)', 'initial_data', 'gateway'),
            ('SELECT (id, xmin)', 'initial_data', 'ingest'),
            ('SELECT (id, provider_name)', 'initial_data', 'tracker'),
            ('SELECT (id, provider_name, initial_value)', 'initial_data',
             'syncer, console, reader'),
            ('INSERT (id, provider_name, initial_value)', 'initial_data', 'console'),
            ('SELECT, INSERT, UPDATE, DELETE', 'initial_data', 'ops'),
            ('SELECT', 'SEQUENCE ' || provider_ids, 'console, ops, reader'),
            ('USAGE', 'SEQUENCE ' || provider_ids, 'ops'),

            ('SELECT (id, provider_id, transaction_value, message_id)', 'historical_transactions',
             'ingest'),
            ('SELECT (provider_id, transaction_value)', 'historical_transactions', 'syncer'),
            ('SELECT (id, message_id)', 'historical_transactions', 'feed'),
            ('SELECT (id, provider_id, transaction_value, message_id, created_at, xmin)',
             'historical_transactions', 'tracker, gateway, console, ops, reader'),
            ('INSERT (provider_id, transaction_value, message_id)', 'historical_transactions',
             'ingest, console, ops'),
            ('SELECT', 'SEQUENCE ' || transaction_ids, 'console, ops, reader'),
            ('USAGE', 'SEQUENCE ' || transaction_ids, 'ingest, console, ops'),
            ('EXECUTE', 'FUNCTION minutebook_id_sequence', 'console, ops, reader'),
            ('EXECUTE', 'FUNCTION minutebook_advance_sequence', 'ingest, console, ops'),

            ('SELECT', 'outbox', 'syncer, feed, tracker, gateway, console, ops, reader'),
            ('SELECT', 'outbox_default', 'syncer, console, ops, reader'),
            ('SELECT', 'outbox_dropped', 'tracker, gateway, console, ops, reader'),
            ('SELECT', 'SEQUENCE ' || outbox_ids, 'console, ops, reader'),
            ('INSERT (all but id, xid, reason, created_at)', 'outbox', 'ingest, console'),
            ('INSERT (all but id, xid, created_at)', 'outbox', 'ops'),
            ('EXECUTE', 'FUNCTION minutebook_make_partition, FUNCTION minutebook_drop_partition',
             'syncer'),
            ('EXECUTE', 'FUNCTION minutebook_repair_default', 'ops'),

            ('SELECT', 'tick, balance',
             'syncer, feed, notifier, tracker, gateway, console, ops, reader'),
            ('INSERT, DELETE', 'tick, balance', 'syncer'),
            ('UPDATE (boundary, published_at)', 'tick', 'syncer'),
            ('EXECUTE', 'FUNCTION minutebook_take_baseline', 'syncer'),
            ('SELECT', 'disk_usage', 'syncer, console, ops, reader'),
            ('DELETE, INSERT (database_bytes)', 'disk_usage', 'syncer'),

            ('SELECT, DELETE', 'dead_letter', 'ingest, console, ops'),
            ('SELECT (message_id, body_sha256)', 'dead_letter', 'notifier, observer'),
            ('SELECT (message_id, body_sha256, state, reason, error)', 'dead_letter', 'tracker'),
            ('SELECT (id, message_id, body_sha256, state, reason, error, queue, received_at)',
             'dead_letter', 'gateway'),
            ('SELECT (all but body, properties, error, value)', 'dead_letter', 'reader'),
            ('SELECT', 'SEQUENCE ' || dead_letter_ids, 'console, ops, reader'),
            ('INSERT (all but id, body_sha256, received_at)', 'dead_letter', 'ingest'),
            -- without provider_id and value none can wait to become a transaction
            ('INSERT (all but id, body_sha256, received_at, provider_id, value)', 'dead_letter',
             'notifier, tracker, observer'),
            ('UPDATE (state, reason, error)', 'dead_letter', 'ingest'),
            ('UPDATE', 'dead_letter', 'console, ops'),

            ('SELECT', 'received_message',
             'ingest, syncer, tracker, gateway, console, ops, reader'),
            ('INSERT (message_id, provider_id, value)', 'received_message', 'ingest, console, ops'),
            ('DELETE', 'received_message', 'syncer'),
            ('SELECT', 'stream_offset', 'ingest, console, ops, reader'),
            ('INSERT (all but created_at), DELETE', 'stream_offset', 'ingest'),
            ('UPDATE (deferred, deferred_sha256)', 'stream_offset', 'ingest'),
            ('SELECT (action, detail, body)', 'operator_action', 'ingest'),
            ('SELECT', 'operator_action, SEQUENCE ' || action_ids, 'console, ops'),
            ('INSERT (all but id, database_user, created_at)', 'operator_action', 'console, ops'),

            ('SELECT', 'follower', 'feed, notifier, tracker, console, ops, reader'),
            ('INSERT, UPDATE (all but name)', 'follower', 'feed, notifier, tracker'),
            ('UPDATE, DELETE', 'follower', 'ops'),
            ('SELECT', 'alert, notification', 'notifier, gateway, console, ops, reader'),
            ('INSERT (all but id, xid, created_at)', 'alert', 'notifier, console, ops'),
            ('UPDATE (all but id, created_at)', 'alert', 'notifier, console, ops'),
            ('INSERT (all but created_at), DELETE', 'notification', 'notifier'),
            ('UPDATE (sent_at, delivered_at, error)', 'notification', 'notifier'),
            ('UPDATE (delivered_at)', 'notification', 'console, ops'),

            ('SELECT', 'request', 'tracker, gateway, console, ops'),
            ('SELECT (all but values, outcome, error)', 'request', 'reader'),
            ('INSERT (all but accepted_at), DELETE', 'request', 'tracker'),
            ('UPDATE (all but id, kind, submitted_by, items, digest, accepted_at)', 'request',
             'tracker'),

            ('SELECT', 'price', 'notifier, tracker, gateway, console, ops, reader'),
            ('INSERT, UPDATE', 'price', 'notifier, console, ops'),
            ('SELECT', 'provider_symbol', 'tracker, gateway, console, ops, reader'),
            ('INSERT, UPDATE, DELETE', 'provider_symbol', 'ops'),

            ('SELECT', 'last_seen', 'observer, console, ops, reader'),
            ('INSERT, UPDATE (seen_at), DELETE', 'last_seen', 'observer'),
            ('INSERT (object_id)', 'sighting_replay', 'console, ops'),
            ('SELECT, UPDATE (object_id), DELETE', 'sighting_replay', 'observer')
        )
        SELECT may, object, 'minutebook_' || name AS role,
               string_to_array(substring(may FROM 'all but ([^)]+)'), ', ') AS but
          FROM one
         CROSS JOIN string_to_table(objects, ', ') AS object -- ids may have no sequence: no object
         CROSS JOIN string_to_table(roles, ', ') AS name
         WHERE to_regrole('minutebook_' || name) IS NOT NULL
           AND CASE WHEN object LIKE '% %' THEN true
                    ELSE to_regclass(object) IS NOT NULL -- a later migration may make it
               END
    LOOP
        IF line.but IS NOT NULL THEN
            SELECT regexp_replace(line.may, 'all but [^)]+', string_agg(quote_ident(attname), ', '))
              INTO line.may
              FROM pg_attribute
             WHERE attrelid = line.object::regclass
               AND attnum > 0
               AND NOT attisdropped
               AND attname <> ALL (line.but);
        END IF;
        EXECUTE format('GRANT %s ON %s TO %I', line.may, line.object, line.role);
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
