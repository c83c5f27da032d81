#!/bin/sh
# Starts one Sentinel. What it learns it writes into its file, and keeps over restarts.
#
#   NAME  of this Sentinel, by which the others reach it
set -eu

FILE=/data/sentinel.conf
if [ ! -s "$FILE" ]; then
  cat >"$FILE" <<CONF
port 26379
dir /data
protected-mode no
sentinel resolve-hostnames yes
sentinel announce-hostnames yes
sentinel announce-ip $NAME
sentinel monitor minutebook keydb 6379 2
sentinel down-after-milliseconds minutebook 2000
sentinel failover-timeout minutebook 6000
sentinel parallel-syncs minutebook 2
CONF
fi
exec docker-entrypoint.sh keydb-server "$FILE" --sentinel
