-- What a message said whose row says something else now, or is gone: changed or deleted by hand, or
-- stored otherwise by a trigger of the user's. By it a redelivery is known as the duplicate that it
-- is: without it, that message would be a row and a dead letter, or a row again. Ingest's usual way
-- costs nothing for it: rows come from changes by hand, and are looked for where an identity is met
-- that has a row of other content, or where the broker says that it delivers again.
CREATE TABLE received_message (
    message_id  text        NOT NULL,
    provider_id bigint      NOT NULL,
    value       bigint      NOT NULL,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    noted_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT received_message_pkey PRIMARY KEY (message_id, provider_id, value)
);

CREATE INDEX received_message_noted_at_idx ON received_message (noted_at);

-- As in 0003, and notes what the rows said before. Longer identities were never a message's.
CREATE OR REPLACE FUNCTION minutebook_transactions_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO outbox (transaction_id, provider_id, amount, operation)
        SELECT id, provider_id, coalesce(transaction_value, 0), 'added'
          FROM new_rows
         WHERE provider_id IS NOT NULL;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (transaction_id, provider_id, amount, operation)
        SELECT id, provider_id, -coalesce(transaction_value, 0)::numeric, 'removed'
          FROM old_rows
         WHERE provider_id IS NOT NULL;
        INSERT INTO received_message (message_id, provider_id, value)
        SELECT message_id, provider_id, transaction_value
          FROM old_rows
         WHERE octet_length(message_id) <= 255
           AND provider_id IS NOT NULL
           AND transaction_value IS NOT NULL
        ON CONFLICT DO NOTHING;
    ELSE
        INSERT INTO outbox (transaction_id, provider_id, amount, operation)
        SELECT id, provider_id, -coalesce(transaction_value, 0)::numeric, 'modified'
          FROM (SELECT id, provider_id, transaction_value FROM old_rows
                EXCEPT ALL
                SELECT id, provider_id, transaction_value FROM new_rows) AS before
         WHERE provider_id IS NOT NULL
         UNION ALL
        SELECT id, provider_id, coalesce(transaction_value, 0), 'modified'
          FROM (SELECT id, provider_id, transaction_value FROM new_rows
                EXCEPT ALL
                SELECT id, provider_id, transaction_value FROM old_rows) AS after
         WHERE provider_id IS NOT NULL;
        INSERT INTO received_message (message_id, provider_id, value)
        SELECT message_id, provider_id, transaction_value
          FROM (SELECT message_id COLLATE "C", provider_id, transaction_value FROM old_rows
                EXCEPT ALL
                SELECT message_id COLLATE "C", provider_id, transaction_value FROM new_rows)
               AS before
         WHERE octet_length(message_id) <= 255
           AND provider_id IS NOT NULL
           AND transaction_value IS NOT NULL
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END
$$;

-- A dead letter that was replayed in other words: its original is looked for when it comes again.
CREATE INDEX operator_action_edited_idx ON operator_action ((detail ->> 'message_id'))
    WHERE body IS NOT NULL;

-- As in 0008, and for what is new here.
ALTER FUNCTION minutebook_grant_rights() RENAME TO minutebook_grant_rights_0008;
CREATE FUNCTION minutebook_grant_rights() RETURNS text[]
    LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    lacking text[] := minutebook_grant_rights_0008();
    line    record;
BEGIN
    FOR line IN
        SELECT 'minutebook_' || one.role AS role, one.may, one.object
          FROM (VALUES
               ('ingest', 'SELECT, INSERT (message_id, provider_id, value)', 'received_message'),
               ('ingest', 'SELECT (action, detail, body)', 'operator_action'),
               ('syncer', 'SELECT, DELETE', 'received_message'),
               ('ops', 'SELECT, INSERT (message_id, provider_id, value)', 'received_message')
               ) AS one (role, may, object)
         WHERE to_regrole('minutebook_' || one.role) IS NOT NULL
    LOOP
        EXECUTE format('GRANT %s ON %I TO %I', line.may, line.object, line.role);
    END LOOP;
    RETURN lacking;
END
$$;

-- As in 0003, for what is new or was replaced here.
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

SELECT minutebook_grant_rights();
