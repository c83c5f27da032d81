"""What is wrong with the tables, whoever changed them: looked up in the catalogue.

Every login may read that. What is asked of our own tables finds none before the first migration.
"""

from typing import LiteralString

# A unique key counts at once, for all rows, on the one column; an index that is being built or
# whose building failed guards nothing.
SELECT_PROBLEMS: LiteralString = r"""
WITH theirs AS (
    SELECT *
      FROM pg_class
     WHERE oid IN (to_regclass('initial_data'), to_regclass('historical_transactions'))
), ours AS (
    SELECT *
      FROM pg_class
     WHERE oid IN (SELECT to_regclass(name)
                     FROM unnest('{outbox,outbox_dropped,balance,tick,dead_letter,stream_offset,
                                   operator_action,received_message,disk_usage}'::text[]) AS name)
        OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = to_regclass('outbox'))
), every AS (
    SELECT * FROM theirs UNION ALL SELECT * FROM ours
), migrated AS (
    SELECT EXISTS (SELECT FROM ours) AS done
), wanted (relation, name, types, added) AS (VALUES
    ('initial_data', 'id', '{smallint,integer,bigint}'::text[], false),
    ('initial_data', 'provider_name', '{character,character varying,text}', false),
    ('initial_data', 'initial_value', '{smallint,integer,bigint}', false),
    ('historical_transactions', 'id', '{smallint,integer,bigint}', false),
    ('historical_transactions', 'provider_id', '{smallint,integer,bigint}', false),
    ('historical_transactions', 'transaction_value', '{smallint,integer,bigint}', false),
    ('historical_transactions', 'message_id', '{text}', true),
    ('historical_transactions', 'created_at', '{timestamp with time zone}', true)
), col AS (
    SELECT t.relname, a.*
      FROM theirs t
      JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
), key AS (
    SELECT c.relname, c.attname, x.relname AS index, o.conname, i.indimmediate,
           coalesce(l.collisdeterministic, true) AS exact
      FROM pg_index i
      JOIN pg_class x ON x.oid = i.indexrelid
      JOIN col c ON c.attrelid = i.indrelid AND c.attnum = i.indkey[0]
      LEFT JOIN pg_constraint o ON o.conindid = i.indexrelid AND o.contype IN ('p', 'u')
      LEFT JOIN pg_collation l ON l.oid = i.indcollation[0]
     WHERE i.indisunique
       AND i.indnkeyatts = 1
       AND i.indisvalid
       AND i.indisready
       AND i.indpred IS NULL
), trigger AS (
    SELECT tgrelid, tgname, tgparentid, tgisinternal, tgtype, tgenabled IN ('O', 'A') AS enabled
      FROM pg_trigger
     WHERE tgrelid IN (SELECT oid FROM every)
)
SELECT 'tables' AS topic, true AS serious,
       format('the tables are found in several schemas: %s',
              string_agg(DISTINCT schema::regnamespace::text, ', ')),
       'set the search_path of this login so that the one that all must be in comes first'
  FROM (SELECT relnamespace FROM every UNION ALL -- and where ours would be made
        SELECT current_schema()::regnamespace FROM migrated WHERE NOT done) AS place (schema)
HAVING count(DISTINCT schema) > 1
 UNION ALL
SELECT 'tables', true,
       format('%s is %s, which cannot be adopted', relname,
              CASE relkind WHEN 'p' THEN 'a partitioned table' WHEN 'f' THEN 'a foreign table'
                           WHEN 'v' THEN 'a view' ELSE 'no plain table' END),
       'keep its rows in a plain table of that name: our triggers must see every change'
  FROM theirs
 WHERE relkind <> 'r'
 UNION ALL
SELECT 'tables', true,
       format('%s is a %s of %s, so neither can be adopted: rows change through the one without'
              ' triggers on the other', c.relname,
              CASE WHEN c.relispartition THEN 'partition' ELSE 'child' END, p.relname),
       format(CASE WHEN c.relispartition THEN 'ALTER TABLE %2$I DETACH PARTITION %1$I'
                   ELSE 'ALTER TABLE %I NO INHERIT %I' END, c.relname, p.relname)
  FROM pg_inherits i
  JOIN pg_class c ON c.oid = i.inhrelid
  JOIN pg_class p ON p.oid = i.inhparent
 WHERE c.oid IN (SELECT oid FROM theirs)
    OR p.oid IN (SELECT oid FROM theirs WHERE relkind = 'r')
 UNION ALL
SELECT 'tables', true,
       format('%s is UNLOGGED: a crash of Postgres empties it', relname),
       format('ALTER TABLE %I SET LOGGED, which rewrites it', relname)
  FROM every
 WHERE relpersistence = 'u'
 UNION ALL
SELECT 'tables', true,
       format('%s has the rule %s: with it INSERT … ON CONFLICT is refused, or changes'
              ' pass by our triggers', t.relname, r.rulename),
       format('DROP RULE %I ON %I; a trigger can do the same', r.rulename, t.relname)
  FROM theirs t
  JOIN pg_rewrite r ON r.ev_class = t.oid
 WHERE r.ev_type IN ('2', '3') -- UPDATE, INSERT
   AND t.relkind = 'r'
 UNION ALL
SELECT 'tables', true,
       format('table %s has no column %s', w.relation, w.name),
       format('ALTER TABLE %I ADD COLUMN %I, or rename yours', w.relation, w.name)
  FROM wanted w
  JOIN theirs t ON t.relname = w.relation
 CROSS JOIN migrated
 WHERE (migrated.done OR NOT w.added)
   AND NOT EXISTS (SELECT FROM col WHERE relname = w.relation AND attname = w.name)
 UNION ALL
SELECT 'tables', true,
       format('column %s.%s is of type %s, which Minutebook cannot adopt: it needs %s',
              c.relname, c.attname, c.atttypid::regtype, array_to_string(w.types, ' or ')),
       CASE WHEN w.added AND NOT migrated.done THEN 'rename it: Minutebook adds one of its own'
            ELSE format('ALTER TABLE %I ALTER COLUMN %I TYPE %s', c.relname, c.attname,
                        w.types[cardinality(w.types)]) END
  FROM wanted w
  JOIN col c ON c.relname = w.relation AND c.attname = w.name
 CROSS JOIN migrated
 WHERE c.atttypid::regtype::text <> ALL (w.types)
 UNION ALL
SELECT 'tables', true,
       format('column %s.%s is NOT NULL without a default, and no message fills it',
              c.relname, c.attname),
       format('ALTER TABLE %I ALTER COLUMN %I SET DEFAULT …', c.relname, c.attname)
  FROM col c
  JOIN pg_type y ON y.oid = c.atttypid
 WHERE c.relname = 'historical_transactions'
   AND (c.attnotnull OR y.typnotnull)
   AND NOT c.atthasdef
   AND c.attidentity = ''
   AND y.typdefault IS NULL
   AND c.attname NOT IN ('provider_id', 'transaction_value', 'message_id', 'created_at')
   AND NOT EXISTS ( -- one that fills it, perhaps (1 row, 2 before, 4 insert)
       SELECT FROM trigger WHERE tgrelid = c.attrelid AND tgtype & 7 = 7 AND enabled)
 UNION ALL
SELECT 'tables', true,
       'initial_data.id is not unique', 'ALTER TABLE initial_data ADD PRIMARY KEY (id)'
 WHERE EXISTS (SELECT FROM theirs WHERE relname = 'initial_data' AND relkind = 'r')
   AND NOT EXISTS (SELECT FROM key WHERE relname = 'initial_data' AND attname = 'id')
 UNION ALL
SELECT 'message ids', true,
       format('%s, which is unique on historical_transactions.message_id, is DEFERRABLE:'
              ' ON CONFLICT refuses it', conname),
       format('ALTER TABLE historical_transactions DROP CONSTRAINT %I; then %s', conname,
              CASE WHEN migrated.done
                   THEN 'ALTER TABLE historical_transactions ADD UNIQUE (message_id)'
                   ELSE 'python -m migrations, which adds one' END)
  FROM key
 CROSS JOIN migrated
 WHERE relname = 'historical_transactions'
   AND attname = 'message_id'
   AND NOT indimmediate
 UNION ALL
SELECT 'message ids', true,
       format('%s takes different identities for the same: its collation is nondeterministic',
              name),
       'ALTER TABLE historical_transactions ALTER COLUMN message_id TYPE text COLLATE "C"'
  FROM (SELECT 'column historical_transactions.message_id' AS name
          FROM col
          JOIN pg_collation l ON l.oid = col.attcollation AND NOT l.collisdeterministic
         WHERE col.relname = 'historical_transactions'
           AND col.attname = 'message_id'
         UNION ALL
        SELECT format('the unique index %s on historical_transactions.message_id', index)
          FROM key
         WHERE relname = 'historical_transactions'
           AND attname = 'message_id'
           AND NOT exact) AS folded
 UNION ALL
SELECT 'message ids', true,
       'historical_transactions.message_id is not unique: a message would be stored twice',
       'ALTER TABLE historical_transactions ADD UNIQUE (message_id)'
  FROM migrated
 WHERE done
   AND NOT EXISTS (
       SELECT FROM key WHERE relname = 'historical_transactions' AND attname = 'message_id')
 UNION ALL
SELECT 'tables', true,
       format('%s is filled by logical replication, which passes by our triggers', relname),
       'ALTER SUBSCRIPTION … REFRESH PUBLICATION without it, or replicate into another table'
  FROM theirs
 WHERE oid IN (SELECT srrelid FROM pg_subscription_rel)
 UNION ALL
SELECT 'row-level security', NOT migrated.done,
       format('row-level security is on for %s: logins that it applies to are refused',
              relname),
       format('ALTER TABLE %I DISABLE ROW LEVEL SECURITY', relname)
  FROM every
 CROSS JOIN migrated
 WHERE relrowsecurity
 UNION ALL
-- Those that can leave out or change rows of ours (1 row, 2 before, 4 insert), or whose error would
-- pass for a message's fault, as in two tables. A dead letter that is left out is always noticed.
SELECT 'triggers', o.relname <> 'dead_letter',
       format('our table %s has the trigger %s: what we write there can be left out, changed or'
              ' refused', o.relname, t.tgname),
       format('DROP TRIGGER %I ON %I, then ops reconcile', t.tgname, o.relname)
  FROM trigger t
  JOIN ours o ON o.oid = t.tgrelid
 WHERE t.enabled
   AND t.tgparentid = 0
   AND NOT t.tgisinternal
   AND (t.tgtype & 7 = 7
        OR t.tgtype & 4 = 4 AND (o.relispartition OR o.relname IN ('outbox', 'received_message')))
 UNION ALL
SELECT 'triggers', o.relname <> 'dead_letter',
       format('our table %s has the rule %s: what we write can be left out', o.relname, r.rulename),
       format('DROP RULE %I ON %I, then ops reconcile', r.rulename, o.relname)
  FROM ours o
  JOIN pg_rewrite r ON r.ev_class = o.oid
 UNION ALL
SELECT 'triggers', false,
       format('trigger %s on %s is missing or disabled: changes are not counted', o.name,
              o.relation),
       format('ALTER TABLE %I ENABLE TRIGGER %I, then ops reconcile', o.relation, o.name)
  FROM (SELECT relation, 'minutebook_' || name AS name
          FROM unnest('{initial_data,historical_transactions}'::text[]) AS relation
         CROSS JOIN unnest('{inserted,updated,deleted,truncated}'::text[]) AS name
         UNION ALL
        SELECT 'tick', 'tick_refuse_own_rows') AS o
 CROSS JOIN migrated
 WHERE done
   AND NOT EXISTS (
       SELECT FROM trigger WHERE tgrelid = to_regclass(o.relation) AND tgname = o.name AND enabled)
 UNION ALL
SELECT 'triggers', false,
       format('minutebook.writer is set for every session of %s: what they insert is not counted',
              sessions),
       format('ALTER %s RESET minutebook.writer, then ops reconcile', sessions)
  FROM pg_db_role_setting
 CROSS JOIN LATERAL (
       SELECT 'ROLE ' || CASE setrole WHEN 0 THEN 'ALL' ELSE setrole::regrole::text END
              || CASE setdatabase WHEN 0 THEN ''
                      ELSE ' IN DATABASE ' || quote_ident(current_database()) END AS sessions) AS s
 WHERE setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
   AND EXISTS (SELECT FROM unnest(setconfig) AS one WHERE one ILIKE 'minutebook.writer=ingest')
 UNION ALL
SELECT 'triggers', false,
       format('foreign keys of %s are not enforced: its triggers are disabled', relname),
       format('ALTER TABLE %I ENABLE TRIGGER ALL', relname)
  FROM theirs
 WHERE oid IN (SELECT tgrelid FROM trigger WHERE tgisinternal AND NOT enabled)
 UNION ALL
SELECT 'tables', false,
       format('%s belongs to %s, for whom our functions may not act', relname, relowner::regrole),
       format('ALTER TABLE %I OWNER TO %s', relname, proowner::regrole)
  FROM every c
  JOIN pg_proc f ON f.proname = 'minutebook_take_baseline'
                AND f.pronamespace = (SELECT min(relnamespace) FROM ours)
 WHERE NOT pg_has_role(f.proowner, c.relowner, 'USAGE')
"""
