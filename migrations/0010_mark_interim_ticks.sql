-- Shortly before a boundary the syncer writes what it has added up so far as a tick of its own, so
-- that the boundary's tick has only the rest to write. Such an interim tick has no boundary and is
-- never shown: the next tick shows what both of them changed.
ALTER TABLE tick
    ADD COLUMN interim boolean NOT NULL DEFAULT false,
    ADD CONSTRAINT tick_interim_check CHECK (NOT interim OR boundary IS NULL);
