#!/usr/bin/env bash
# Moves half of a pipeline's providers to a new database, so that N shards become 2N.
#
#   split.sh OLD NEW COUNT NUMBER
#
#   OLD     Postgres URL of the pipeline that has them, as a superuser
#   NEW     Postgres URL of a database that is migrated and empty, as a superuser
#   COUNT   how many shards there are afterwards
#   NUMBER  which of them NEW is: OLD was, and stays, NUMBER - COUNT / 2
#
# Nothing of the pipeline may run, its queue must be empty, and KeyDB must show all that is counted: the
# steps before and after are in docs/runbook.md, "Add a shard". What moves is copied, compared, and
# only then deleted from OLD; each database then counts anew from its tables. Asks for psql only.
set -euo pipefail

main() {
  [ $# = 4 ] || fail "split.sh OLD NEW COUNT NUMBER"
  old=$1 new=$2
  [[ $3 =~ ^[1-9][0-9]{0,3}$ && $4 =~ ^(0|[1-9][0-9]{0,3})$ ]] || fail "COUNT and NUMBER are numbers"
  ((${3} % 2 == 0 && ${4} >= ${3} / 2 && ${4} < ${3})) || fail "NUMBER is of the upper half of COUNT"
  count=$3 number=$4

  [ "$(ask "$new" "SELECT count(*) FROM initial_data")" = 0 ] || fail "NEW has providers already"
  [ "$(ask "$old" "SELECT count(*) FROM outbox WHERE NOT pg_visible_in_snapshot(xid,
      (SELECT snapshot FROM tick ORDER BY epoch DESC LIMIT 1))")" = 0 ] ||
    fail "OLD has outbox rows that no tick has counted: start its syncer, and wait for a boundary"

  copy initial_data "$(moves id)"
  copy historical_transactions "$(moves provider_id)"
  copy received_message "$(moves provider_id)" xid # of another database it means nothing
  copy dead_letter "state = 'waiting' AND $(moves provider_id)" id
  copy provider_symbol "$(moves provider_id)"
  copy price true # each shard has all of them
  say "comparing"
  [ "$(totals "$old" "$(moves id)" "$(moves provider_id)")" = "$(totals "$new" true true)" ] ||
    fail "what was copied differs: nothing was deleted from OLD; drop NEW and begin anew"

  say "counting anew in NEW"
  psql_in "$new" -c "
    SELECT minutebook_advance_sequence('initial_data'),
           minutebook_advance_sequence('historical_transactions')" -c "$(renamed "$number")" \
    -c "$(baseline)" >/dev/null
  say "deleting from OLD what moved, and counting anew"
  psql_in "$old" --single-transaction -c "
    SET LOCAL session_replication_role = replica;
    DELETE FROM dead_letter WHERE state = 'waiting' AND $(moves provider_id);
    DELETE FROM received_message WHERE $(moves provider_id);
    DELETE FROM provider_symbol WHERE $(moves provider_id);
    DELETE FROM historical_transactions WHERE $(moves provider_id);
    DELETE FROM initial_data WHERE $(moves id);
    SET LOCAL session_replication_role = origin;
    $(renamed $((number - count / 2)));
    $(baseline)" >/dev/null
  say "done: $(ask "$new" "SELECT count(*) FROM initial_data") providers moved"
}

# moves COLUMN: the condition under which a row's provider moves.
moves() {
  printf '((%s %% %s) + %s) %% %s = %s' "$1" "$count" "$count" "$count" "$number"
}

# copy TABLE CONDITION [COLUMN]: copies rows without firing triggers, one column left to its default.
copy() {
  local columns
  columns=$(ask "$old" "
    SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum)
      FROM pg_attribute
     WHERE attrelid = '$1'::regclass AND attnum > 0 AND NOT attisdropped
       AND attgenerated = '' AND attname <> '${3:-}'")
  say "copying $1"
  psql_in "$old" -c "\\copy (SELECT $columns FROM $1 WHERE $2) TO STDOUT" |
    PGOPTIONS='-c session_replication_role=replica' psql_in "$new" -c "\\copy $1 ($columns) FROM STDIN" >/dev/null
}

# totals URL CONDITION CONDITION: providers, transactions, symbols and prices, how many and how much.
totals() {
  ask "$1" "
    SELECT (SELECT (count(*), sum(initial_value), sum(id::numeric)) FROM initial_data WHERE $2),
           (SELECT (count(*), sum(transaction_value), count(message_id), sum(id::numeric))
              FROM historical_transactions WHERE $3),
           (SELECT (count(*), sum(provider_id)) FROM provider_symbol WHERE $3),
           (SELECT (count(*), sum(price)) FROM price)"
}

# renamed NUMBER: names the queues that dead letters came from as they are called now. Sightings are of
# no shard. A name that the only pipeline had ends in no shard's number, whatever it ends in.
renamed() {
  local was=''
  ((count == 2)) || was="[.]$((number - count / 2))"
  printf "UPDATE dead_letter SET queue = regexp_replace(queue, '%s\$', '.%s') WHERE queue <> 'sightings'" "$was" "$1"
}

baseline() {
  printf '%s' "SELECT minutebook_take_baseline((SELECT max(epoch) + 1 FROM tick),
    gen_random_uuid()::text, NULL)"
}

ask() {
  psql_in "$1" -At -c "$2"
}

psql_in() {
  psql -X -q -v ON_ERROR_STOP=1 "$@"
}

say() {
  echo "split.sh: $1" >&2
}

fail() {
  say "$1"
  exit 1
}

main "$@"
