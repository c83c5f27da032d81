"""All the rights that a database grants, from its catalogue."""

from collections import defaultdict
from typing import LiteralString

import psycopg

from ops.doctor.grants import Rights

# What was never granted or revoked has no list and is read as Postgres takes it: else a function
# that everybody may call would not be seen. What an owner has is left out. Hourly partitions of the
# outbox are one object: whatever is granted on any of them shows.
SELECT_GRANTED: LiteralString = r"""
WITH relation AS (
    SELECT oid, relkind, relowner, relacl,
           CASE WHEN oid = minutebook_id_sequence('initial_data') THEN 'initial_data_id_seq'
                WHEN oid = minutebook_id_sequence('historical_transactions')
                THEN 'historical_transactions_id_seq'
                ELSE regexp_replace(relname, '^outbox_\d{8}_\d\d$', 'outbox_(hour)')
           END AS name
      FROM pg_class
     WHERE relnamespace = current_schema()::regnamespace
       AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
), object (name, owner, acl, col) AS (
    SELECT 'database', datdba, coalesce(datacl, acldefault('d', datdba)), NULL
      FROM pg_database
     WHERE datname = current_database()
     UNION ALL
    SELECT CASE WHEN oid = current_schema()::regnamespace THEN 'schema'
                ELSE 'schema ' || nspname
           END, nspowner, coalesce(nspacl, acldefault('n', nspowner)), NULL
      FROM pg_namespace
     WHERE nspname !~ '^pg_|^information_schema$'
     UNION ALL
    SELECT name, relowner, relacl, NULL
      FROM relation
     UNION ALL
    SELECT name, relowner, attacl, attname
      FROM relation
      JOIN pg_attribute ON attrelid = relation.oid AND NOT attisdropped
     UNION ALL
    SELECT oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner)), NULL
      FROM pg_proc
     WHERE pronamespace = current_schema()::regnamespace
     UNION ALL
    SELECT 'what is made later', defaclrole, defaclacl, NULL
      FROM pg_default_acl
), single (grantee, name, privilege, col) AS (
    SELECT a.grantee, name,
           a.privilege_type || CASE WHEN a.is_grantable THEN ', and grant it' ELSE '' END, col
      FROM object
     CROSS JOIN LATERAL aclexplode(acl) AS a
     WHERE a.grantee <> owner
     UNION ALL
    SELECT member, 'role ' || roleid::regrole,
           CASE WHEN admin_option THEN 'MEMBER, and grant it' ELSE 'MEMBER' END, NULL
      FROM pg_auth_members
     WHERE member::regrole::text LIKE 'minutebook\_%'
     UNION ALL
    SELECT oid, 'cluster', own.attribute, NULL
      FROM pg_roles
     CROSS JOIN LATERAL (VALUES
           ('LOGIN', rolcanlogin), ('SUPERUSER', rolsuper), ('CREATEROLE', rolcreaterole),
           ('CREATEDB', rolcreatedb), ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)
           ) AS own (attribute, has)
     WHERE rolname LIKE 'minutebook\_%'
       AND own.has
)
SELECT CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END, name,
       privilege || coalesce(' (' || string_agg(col, ', ' ORDER BY col COLLATE "C") || ')', '')
  FROM single
 GROUP BY grantee, name, privilege, col IS NULL
"""


def granted(conn: psycopg.Connection) -> Rights:
    """Return all that a database grants to anybody but the owners."""
    found: Rights = defaultdict(lambda: defaultdict(set))
    for grantee, name, right in conn.execute(SELECT_GRANTED):
        found[grantee][name].add(right)
    return {grantee: dict(rights) for grantee, rights in found.items()}
