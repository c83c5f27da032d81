-- Requests that came by message: which items each has, what became of them, and who is to be told.
-- Nothing here is read or written by ingest, the ticker or the syncer.

-- One row for each request, by the key that its sender chose: who repeats a key repeats a request,
-- and `digest` (of what was asked, as judged) tells that from another one under the same key.
-- Nothing of a request with `published_at` is ever published again: an operator may have deleted
-- its rows since. `kind` is `transactions`, or which question was asked.
--
-- The arrays are its items that are not decided yet: place in the request, what they say (null where
-- no row can come of it), identity, and the SHA-256 of their bodies, by which a dead letter is known
-- to be theirs. `outcome` is what is decided, and stays. `xids` are the Postgres transactions that
-- stored items: by them the first tick that has counted all is found, after which they go.
--
-- `reply_due` says which reply is to be sent: `waiting` (only items that wait for their provider are
-- left, since `waiting_since`) or `decided`. It is written in the transaction that decides, and goes
-- once the broker has confirmed the reply. `error` is why none was taken.
CREATE TABLE request (
    id             text        NOT NULL,
    kind           text        NOT NULL,
    submitted_by   text        NOT NULL,
    items          integer     NOT NULL,
    digest         bytea       NOT NULL,
    numbers        integer[],
    provider_ids   bigint[],
    "values"       bigint[],
    message_ids    text[],
    bodies_sha256  bytea[],
    reply_to       text,
    correlation_id text,
    accepted_at    timestamptz NOT NULL DEFAULT clock_timestamp(),
    published_at   timestamptz,
    waiting_since  timestamptz,
    decided_at     timestamptz,
    state          text        NOT NULL DEFAULT 'pending',
    outcome        jsonb,
    xids           xid8[],
    counted_by     timestamptz,
    shown_at       timestamptz,
    reply_due      text,
    replied_at     timestamptz,
    error          text,
    CONSTRAINT request_pkey PRIMARY KEY (id),
    CONSTRAINT request_state_check CHECK (state IN ('pending', 'running', 'done', 'failed')),
    CONSTRAINT request_decided_check
        CHECK ((decided_at IS NOT NULL) = (state IN ('done', 'failed'))),
    CONSTRAINT request_reply_due_check CHECK (reply_due IN ('waiting', 'decided'))
);

-- What is looked at while it is open, which is little beside what is kept.
CREATE INDEX request_open_idx ON request (published_at, id)
    WHERE decided_at IS NULL AND published_at IS NOT NULL;
CREATE INDEX request_uncounted_idx ON request (decided_at, id)
    WHERE decided_at IS NOT NULL AND xids IS NOT NULL;
CREATE INDEX request_reply_due_idx ON request (error, decided_at, id)
    WHERE reply_due IS NOT NULL;
-- For lists and retention. Most requests are done: the others are found without them.
CREATE INDEX request_accepted_at_idx ON request (accepted_at, id);
CREATE INDEX request_state_idx ON request (state, accepted_at, id) WHERE state <> 'done';

SELECT minutebook_grant_rights();
