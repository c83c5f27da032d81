-- Tables of what follows the ticks: where each follower stands, and the alerts on balances.
-- Nothing here is read or written by ingest, the ticker or the syncer.

-- One row for each follower: the due tick that it has followed last. `error` is why it stands
-- still, null while it does not. An operator who wants a follower to start anew takes its token
-- away (`ops followers anew`): '' is the token of no tick. `closed_id` is under which id the feed
-- closed the tick at which it started anew: the one after it names it.
CREATE TABLE follower (
    name      text        NOT NULL,
    epoch     bigint      NOT NULL,
    token     text        NOT NULL,
    moved_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    error     text,
    error_at  timestamptz,
    closed_id text,
    CONSTRAINT follower_pkey PRIMARY KEY (name),
    CONSTRAINT follower_error_check CHECK ((error IS NULL) = (error_at IS NULL))
);

-- Who has a follower's rights writes the row of that one only: whose password is stolen cannot have
-- another one leave ticks out. A policy (row-level security) is no way: services refuse to work where
-- one might hide rows from them.
CREATE FUNCTION minutebook_guard_follower() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT
          FROM pg_roles
         WHERE (rolname IN ('minutebook_ops', 'minutebook_' || NEW.name)
                OR oid = (SELECT relowner FROM pg_class WHERE oid = TG_RELID))
           AND pg_has_role(oid, 'USAGE')) THEN
        RAISE insufficient_privilege USING
            MESSAGE = format('%s may not write where %s stands', current_user, NEW.name);
    END IF;
    RETURN NULL;
END
$$;

REVOKE EXECUTE ON FUNCTION minutebook_guard_follower() FROM PUBLIC;

CREATE TRIGGER follower_guard
    AFTER INSERT OR UPDATE ON follower
    FOR EACH ROW EXECUTE FUNCTION minutebook_guard_follower();

-- What somebody wants to be told of. Without a provider_id it holds for each provider. `source` and
-- `source_id` are its name where it comes from, `version` counts the changes there. It is judged
-- from the first due tick after `since_epoch` on whose snapshot sees `xid`, the transaction that
-- added or changed it: that one may have committed after a tick or two. One that was removed stays,
-- no longer active, so that a late change of an older version does not bring it back; it may be all
-- that is known of it.
CREATE TABLE alert (
    id          bigint      GENERATED ALWAYS AS IDENTITY,
    provider_id bigint,
    condition   text,
    threshold   numeric,
    for_seconds bigint,
    source      text        NOT NULL,
    source_id   text        NOT NULL,
    version     bigint,
    since_epoch bigint      NOT NULL,
    xid         xid8        NOT NULL DEFAULT pg_current_xact_id(),
    active      boolean     NOT NULL DEFAULT true,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT alert_pkey PRIMARY KEY (id),
    CONSTRAINT alert_source_key UNIQUE (source, source_id),
    CONSTRAINT alert_condition_check CHECK (condition IN ('below', 'above', 'change', 'silent')),
    CONSTRAINT alert_active_check CHECK (NOT active OR condition IS NOT NULL),
    CONSTRAINT alert_threshold_check
        CHECK (threshold IS NOT NULL OR condition IS NULL OR condition = 'silent'),
    CONSTRAINT alert_for_seconds_check
        CHECK (for_seconds > 0 OR condition IS NULL OR condition <> 'silent')
);

CREATE INDEX alert_provider_idx ON alert (provider_id, condition, threshold) WHERE active;

-- One row for each time that an alert's condition was met, written in the commit that moves the
-- follower. `id` is made of the tick's token, so that the same one is never told under two ids.
-- `condition` and `threshold` are what the alert said then: it may have been changed since. `sent_at`
-- is when the broker had confirmed it, `delivered_at` when its consumer said so, `error` why no
-- queue has taken it.
CREATE TABLE notification (
    id           text        NOT NULL,
    alert_id     bigint      NOT NULL,
    provider_id  bigint      NOT NULL,
    epoch        bigint      NOT NULL,
    boundary     timestamptz,
    condition    text        NOT NULL,
    threshold    numeric,
    balance      numeric     NOT NULL,
    previous     numeric,
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    sent_at      timestamptz,
    delivered_at timestamptz,
    error        text,
    CONSTRAINT notification_pkey PRIMARY KEY (id)
);

CREATE INDEX notification_new_idx ON notification (created_at, id)
    WHERE sent_at IS NULL AND error IS NULL;
CREATE INDEX notification_failed_idx ON notification (created_at, id)
    WHERE sent_at IS NULL AND error IS NOT NULL;
CREATE INDEX notification_created_at_idx ON notification (created_at);

SELECT minutebook_grant_rights();
