#!/bin/sh
# Read a balance and of which minute it is, in one MULTI: read.sh 1_Visa
# REDIS_CLI may be another client with its options: valkey-cli -h HOST, docker compose exec -T keydb keydb-cli
set -eu

[ $# = 1 ] || { echo "usage: read.sh KEY, for example 1_Visa" >&2 && exit 1; }
mark=minutebook:watermark shards=${SHARDS:-1} id=${1%%_*}
# Each shard has its own, and a key begins with its provider's id.
if [ "$shards" -gt 1 ]; then mark=$mark:$(((id % shards + shards) % shards)); fi
# Several words are meant.
# shellcheck disable=SC2086
printf 'MULTI\nGET "%s"\nHMGET %s boundary applied_at epoch token\nEXEC\n' "$1" "$mark" |
  ${REDIS_CLI:-redis-cli -u "${KEYDB_URL:-redis://127.0.0.1:6379/0}"} --no-raw
