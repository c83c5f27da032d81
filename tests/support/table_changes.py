"""Tables of a user's, and what can be so of them that ingest could not work with, or can."""

from typing import LiteralString

THEIR_TABLES: LiteralString = """
CREATE TABLE initial_data (id int PRIMARY KEY, provider_name text, initial_value int);
CREATE TABLE historical_transactions (
    id serial PRIMARY KEY, provider_id int, transaction_value int, message_id text,
    CONSTRAINT reference FOREIGN KEY (provider_id) REFERENCES initial_data);
INSERT INTO initial_data VALUES (1, 'Visa', 1000), (2, 'Mastercard', 2000);
INSERT INTO historical_transactions (provider_id, transaction_value)
VALUES (1, 100), (1, 200), (2, -200)
"""

# By name: what is changed, and a part of the refusal. All but the last few may come at any time.
UNFIT: dict[str, tuple[LiteralString, str]] = {
    "deferrable": (
        "ALTER TABLE historical_transactions ADD UNIQUE (message_id) DEFERRABLE",
        "is DEFERRABLE",
    ),
    "rule instead": (
        "CREATE RULE r AS ON INSERT TO historical_transactions DO INSTEAD NOTHING",
        "DROP RULE r ON historical_transactions",
    ),
    "rule also": (
        "CREATE RULE r AS ON UPDATE TO historical_transactions DO ALSO SELECT 1",
        "DROP RULE r ON historical_transactions",
    ),
    "unlogged": (
        "ALTER TABLE historical_transactions SET UNLOGGED",
        "ALTER TABLE historical_transactions SET LOGGED",
    ),
    "unlogged providers": (
        """
        ALTER TABLE historical_transactions SET UNLOGGED;
        ALTER TABLE initial_data SET UNLOGGED
        """,
        "initial_data is UNLOGGED",
    ),
    "folding collation": (
        """
        CREATE COLLATION folding
            (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        ALTER TABLE historical_transactions ALTER message_id TYPE text COLLATE folding
        """,
        'TYPE text COLLATE "C"',
    ),
    "folding index": (
        """
        CREATE COLLATION folding
            (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
        CREATE UNIQUE INDEX theirs ON historical_transactions (message_id COLLATE folding)
        """,
        "the unique index theirs",
    ),
    "child": (
        """
        CREATE TABLE parent ();
        ALTER TABLE historical_transactions INHERIT parent
        """,
        "ALTER TABLE historical_transactions NO INHERIT parent",
    ),
    "parent": (
        "CREATE TABLE child () INHERITS (historical_transactions)",
        "ALTER TABLE child NO INHERIT historical_transactions",
    ),
    "a column that no message fills": (
        """
        ALTER TABLE historical_transactions ADD currency text NOT NULL DEFAULT 'EUR';
        ALTER TABLE historical_transactions ALTER currency DROP DEFAULT
        """,
        "ALTER COLUMN currency SET DEFAULT",
    ),
    "padded ids": (
        "ALTER TABLE historical_transactions ALTER message_id TYPE char(36)",
        "message_id is of type character",
    ),
    "fractions": (
        "ALTER TABLE historical_transactions ALTER transaction_value TYPE numeric(10, 2)",
        "transaction_value is of type numeric",
    ),
    "identity": (
        """
        ALTER TABLE historical_transactions
            ALTER provider_id SET NOT NULL, ALTER provider_id ADD GENERATED ALWAYS AS IDENTITY
        """,
        "428C9: cannot insert a non-DEFAULT value into column",
    ),
    "filled by replication": (
        """
        CREATE SUBSCRIPTION theirs CONNECTION 'dbname=none' PUBLICATION p
            WITH (connect = false, slot_name = NONE);
        SET allow_system_table_mods = on;
        INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
        SELECT oid, 'historical_transactions'::regclass, 'r' FROM pg_subscription;
        RESET allow_system_table_mods
        """,
        "filled by logical replication",
    ),
}
NOT_ADOPTED: dict[str, tuple[LiteralString, str]] = UNFIT | {
    "partition": (
        """
        CREATE TABLE parent (LIKE historical_transactions) PARTITION BY RANGE (id);
        ALTER TABLE parent ATTACH PARTITION historical_transactions DEFAULT
        """,
        "ALTER TABLE parent DETACH PARTITION historical_transactions",
    ),
    "foreign table": (
        """
        CREATE EXTENSION file_fdw;
        CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
        DROP TABLE historical_transactions;
        CREATE FOREIGN TABLE historical_transactions
            (id int, provider_id int, transaction_value int) SERVER files OPTIONS (filename '/x')
        """,
        "historical_transactions is a foreign table",
    ),
    "view": (
        """
        ALTER TABLE historical_transactions RENAME TO t;
        CREATE VIEW historical_transactions AS SELECT * FROM t
        """,
        "historical_transactions is a view",
    ),
    "another schema is first": (
        "CREATE SCHEMA elsewhere; SET LOCAL search_path = elsewhere, public",
        "in several schemas: elsewhere, public",
    ),
    "row-level security": (
        "ALTER TABLE historical_transactions ENABLE ROW LEVEL SECURITY",
        "DISABLE ROW LEVEL SECURITY",
    ),
    "the same id twice": (
        "INSERT INTO historical_transactions (message_id) VALUES ('x'), ('x')",
        "the same message_id in several rows",
    ),
    "a provider without id": (
        """
        ALTER TABLE historical_transactions DROP CONSTRAINT reference;
        ALTER TABLE initial_data DROP CONSTRAINT initial_data_pkey, ALTER id DROP NOT NULL,
            ADD UNIQUE (id);
        INSERT INTO initial_data VALUES (NULL, 'X', 1)
        """,
        "a row without an id",
    ),
    "a trigger that changes ids": (
        """
        CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.message_id := lower(NEW.message_id); RETURN NEW; END $$;
        CREATE TRIGGER theirs BEFORE INSERT ON historical_transactions
            FOR EACH ROW EXECUTE FUNCTION theirs()
        """,
        "changes message_id",
    ),
    "no free ids": ("SELECT setval('historical_transactions_id_seq', 2147483647)", "2200H"),
}

# Unique, and useless to ingest: one of ours comes beside it.
USELESS: dict[str, tuple[LiteralString, ...]] = {
    "invalid": (
        "INSERT INTO historical_transactions (message_id) VALUES ('x'), ('x')",
        """
        CREATE UNIQUE INDEX CONCURRENTLY historical_transactions_message_id_key
            ON historical_transactions (message_id)
        """,
        "DELETE FROM historical_transactions WHERE message_id = 'x'",
    ),
    "partial": (
        "CREATE UNIQUE INDEX ON historical_transactions (message_id) WHERE provider_id > 1",
    ),
    "expression": ("CREATE UNIQUE INDEX ON historical_transactions (md5(message_id))",),
    "two columns": ("CREATE UNIQUE INDEX ON historical_transactions (message_id, provider_id)",),
    "exclusion": (
        "ALTER TABLE historical_transactions ADD EXCLUDE USING btree (message_id WITH =)",
    ),
}

HARMLESS: dict[str, LiteralString] = {
    "nothing": "SELECT 1",
    "changes forbidden": """
        CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'a history stays'; END $$;
        CREATE TRIGGER theirs BEFORE UPDATE OR DELETE ON historical_transactions
            FOR EACH ROW EXECUTE FUNCTION theirs()
        """,
    "published without an identity": """
        ALTER TABLE historical_transactions DROP CONSTRAINT historical_transactions_pkey;
        CREATE PUBLICATION theirs FOR TABLE historical_transactions
        """,
    "deletes swallowed": """
        CREATE RULE r AS ON DELETE TO historical_transactions DO INSTEAD NOTHING
        """,
    "a unique index that folds": """
        CREATE UNIQUE INDEX ON historical_transactions (lower(message_id))
        """,
    "a constraint on values": """
        ALTER TABLE historical_transactions ADD CHECK (abs(transaction_value) >= 100)
        """,
    "a column that a trigger fills": """
        ALTER TABLE historical_transactions ADD currency text NOT NULL DEFAULT 'EUR';
        ALTER TABLE historical_transactions ALTER currency DROP DEFAULT;
        CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN NEW.currency := 'EUR'; RETURN NEW; END $$;
        CREATE TRIGGER theirs BEFORE INSERT ON historical_transactions
            FOR EACH ROW EXECUTE FUNCTION theirs()
        """,
    "a foreign key that sets null": """
        ALTER TABLE historical_transactions DROP CONSTRAINT reference,
            ADD FOREIGN KEY (provider_id) REFERENCES initial_data ON DELETE SET NULL
                DEFERRABLE INITIALLY DEFERRED NOT VALID
        """,
    "a foreign key that cascades": """
        ALTER TABLE historical_transactions DROP CONSTRAINT reference,
            ADD FOREIGN KEY (provider_id) REFERENCES initial_data ON DELETE CASCADE
        """,
}
