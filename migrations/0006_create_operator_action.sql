-- Who did what by hand with the operator's tool: written in the commit of what was done, and kept.
-- `subject` is the id of what was changed (a dead letter, a provider); `body` is what an edited
-- message said before.
CREATE TABLE operator_action (
    id            bigint      GENERATED ALWAYS AS IDENTITY,
    action        text        NOT NULL,
    subject       text        NOT NULL,
    outcome       text        NOT NULL,
    operator      text        NOT NULL,
    database_user text        NOT NULL DEFAULT session_user,
    detail        jsonb       NOT NULL DEFAULT '{}',
    body          bytea,
    created_at    timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT operator_action_pkey PRIMARY KEY (id)
);

CREATE INDEX operator_action_subject_idx ON operator_action (action, subject);
