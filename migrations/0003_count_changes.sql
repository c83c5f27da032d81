-- From the commit of this file on, every change to the user's tables reaches the outbox, whoever
-- makes it; all before is in the baseline, tick 0. Writers wait at the lock below for as long as
-- this takes, then find the triggers in place.

LOCK TABLE initial_data, historical_transactions IN SHARE ROW EXCLUSIVE MODE;

-- Statement-level, with transition tables: one call per statement, however many rows. Ingest adds
-- outbox rows by itself, and says so by the setting minutebook.writer. What a row said before
-- goes into received_message; identities longer than 255 bytes are no message's.
CREATE FUNCTION minutebook_transactions_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER AS $$
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

CREATE TRIGGER minutebook_inserted AFTER INSERT ON historical_transactions
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT
    WHEN (current_setting('minutebook.writer', true) IS DISTINCT FROM 'ingest'
          OR pg_trigger_depth() > 0) -- rows that a trigger of the user's adds are not ingest's own
    EXECUTE FUNCTION minutebook_transactions_changed();
CREATE TRIGGER minutebook_updated AFTER UPDATE ON historical_transactions
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_transactions_changed();
CREATE TRIGGER minutebook_deleted AFTER DELETE ON historical_transactions
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_transactions_changed();

-- A rename changes no amount, yet the key: it is an outbox row of amount 0.
CREATE FUNCTION minutebook_providers_changed() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO outbox (provider_id, amount, operation)
        SELECT id, coalesce(initial_value, 0), 'added' FROM new_rows;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO outbox (provider_id, amount, operation)
        SELECT id, -coalesce(initial_value, 0)::numeric, 'removed' FROM old_rows;
    ELSE
        INSERT INTO outbox (provider_id, amount, operation)
        SELECT id, -coalesce(initial_value, 0)::numeric, 'modified'
          FROM (SELECT id, provider_name COLLATE "C", initial_value FROM old_rows
                EXCEPT ALL
                SELECT id, provider_name COLLATE "C", initial_value FROM new_rows) AS before
         UNION ALL
        SELECT id, coalesce(initial_value, 0), 'modified'
          FROM (SELECT id, provider_name COLLATE "C", initial_value FROM new_rows
                EXCEPT ALL
                SELECT id, provider_name COLLATE "C", initial_value FROM old_rows) AS after;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER minutebook_inserted AFTER INSERT ON initial_data
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_providers_changed();
CREATE TRIGGER minutebook_updated AFTER UPDATE ON initial_data
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_providers_changed();
CREATE TRIGGER minutebook_deleted AFTER DELETE ON initial_data
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_providers_changed();

-- A trigger does not see the rows that TRUNCATE removes, so their amounts could not be taken back.
CREATE FUNCTION minutebook_refuse_truncate() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'TRUNCATE of % would leave the balances wrong', TG_TABLE_NAME
        USING HINT = 'Use DELETE: its rows are taken back from the balances.';
END
$$;

CREATE TRIGGER minutebook_truncated BEFORE TRUNCATE ON historical_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_refuse_truncate();
CREATE TRIGGER minutebook_truncated BEFORE TRUNCATE ON initial_data
    FOR EACH STATEMENT EXECUTE FUNCTION minutebook_refuse_truncate();

-- A tick cannot count what its own transaction writes: its snapshot does not see that, and the
-- next tick may take it for counted. Corrections go into transactions of their own.
CREATE FUNCTION minutebook_refuse_own_rows() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER AS $$
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

-- Counts everything from the user's tables and begins a new snapshot: at installation, and again
-- when the database is found in another cluster, where the old outbox's transaction ids mean
-- nothing and would be counted at every fold. The caller holds the tick lock. The statement after
-- the locks takes its snapshot after them, and stores the same snapshot under which it sums.
CREATE FUNCTION minutebook_take_baseline(new_epoch bigint, new_token text, new_boundary timestamptz)
    RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET enable_seqscan = on AS $$
BEGIN
    LOCK TABLE initial_data, historical_transactions IN SHARE ROW EXCLUSIVE MODE;
    TRUNCATE outbox;
    WITH entry AS (
        SELECT id AS provider_id, coalesce(initial_value, 0)::numeric AS amount
          FROM initial_data
         UNION ALL
        SELECT provider_id, sum(transaction_value)
          FROM historical_transactions
         WHERE provider_id IS NOT NULL
         GROUP BY provider_id
         UNION ALL
        SELECT DISTINCT provider_id, 0
          FROM balance
    ), written AS (
        INSERT INTO balance (provider_id, epoch, key, key_changed, balance)
        SELECT e.provider_id, new_epoch, p.id || '_' || p.provider_name, true,
               sum(coalesce(e.amount, 0))
          FROM entry e
          LEFT JOIN initial_data p ON p.id = e.provider_id
         GROUP BY e.provider_id, p.id, p.provider_name
    )
    INSERT INTO tick (epoch, token, boundary, snapshot, system_identifier, rows, amount)
    SELECT new_epoch, new_token, new_boundary, pg_current_snapshot(), c.system_identifier, 0, 0
      FROM pg_control_system() c;
END
$$;

SELECT minutebook_take_baseline(0, gen_random_uuid()::text, NULL);
