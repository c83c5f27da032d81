-- How far a RabbitMQ stream has been stored: one row per batch, in the commit of its rows. It is
-- append-only, and each row names the one it follows: two readers that continue from the same place
-- clash here, and one of them gives up. That is the compare-and-set, and nothing is updated.
CREATE TABLE stream_offset (
    stream      text        NOT NULL,
    generation  text        NOT NULL,
    previous    bigint      NOT NULL,
    reached     bigint      NOT NULL,
    body_sha256 bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT stream_offset_pkey PRIMARY KEY (stream, reached),
    CONSTRAINT stream_offset_previous_key UNIQUE (stream, previous),
    CONSTRAINT stream_offset_order_check CHECK (previous < reached)
);
