-- When each object was last seen online, as long as that is worth knowing, and sightings that are to
-- be looked up again. Nothing here is read or written by ingest, the ticker or the syncer.

-- One row for each object. It goes when its time is over; nobody moves seen_at back. There is no
-- index on seen_at: the table holds what was seen in half a minute, and each update would have to
-- write the index, too.
CREATE TABLE last_seen (
    object_id bigint      NOT NULL,
    seen_at   timestamptz NOT NULL,
    CONSTRAINT last_seen_pkey PRIMARY KEY (object_id)
) WITH (fillfactor = 50);

-- Dead letters of the queue `sightings` that an operator has replayed: the observer publishes them
-- again, and removes them once the broker has confirmed them.
CREATE TABLE sighting_replay (
    id        bigint GENERATED ALWAYS AS IDENTITY,
    object_id bigint NOT NULL,
    CONSTRAINT sighting_replay_pkey PRIMARY KEY (id)
);

SELECT minutebook_grant_rights();
