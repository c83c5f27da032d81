#!/bin/sh
# Starts one KeyDB: as a replica of the primary that the Sentinels name. While none answers, as at the
# very first start, the primary is the one that is called as in compose.yaml: keydb.
#
#   NAME       of this server, by which the others reach it
#   SENTINELS  their names, separated by blanks
set -eu

primary() {
  for sentinel in $SENTINELS; do
    found=$(timeout 2 keydb-cli -h "$sentinel" -p 26379 --raw \
      sentinel get-master-addr-by-name minutebook 2>/dev/null | head -n 1) || continue
    # An error, or nothing, is no name.
    case $found in
      keydb | keydb-*) echo "$found" && return ;;
    esac
  done
  echo keydb
}

# min-replicas: one that is cut off from its replicas takes no writes.
set -- keydb-server --bind 0.0.0.0 --protected-mode no --dir /data \
  --appendonly yes --appendfsync everysec --maxmemory-policy noeviction \
  --min-replicas-to-write 1 --min-replicas-max-lag 2 \
  --repl-ping-replica-period 1 --repl-timeout 5 --repl-diskless-sync yes --repl-diskless-sync-delay 0 \
  --replica-announce-ip "$NAME" \
  --user exporter on nopass resetkeys -@all +info +ping \
  '+client|setname' '+config|get' +slowlog '+latency|latest' '+latency|histogram'
leader=$(primary)
[ "$leader" = "$NAME" ] || set -- "$@" --replicaof "$leader" 6379
exec docker-entrypoint.sh "$@"
