#!/bin/bash
# Starts one broker of a cluster: as start.sh beside compose.yaml does, once it has the secret that all
# brokers of the cluster share.
#
#   RABBITMQ_ERLANG_COOKIE  letters, digits and underscores
set -euo pipefail

COOKIE=/var/lib/rabbitmq/.erlang.cookie
CONFIG=/etc/rabbitmq/conf.d

DATA=/var/lib/rabbitmq/mnesia/rabbit@$HOSTNAME
FIRST=rabbitmq
NODE_PORT=25672

# A broker without data must not make a cluster before the first one is there: that one, with the
# data of a broker without cluster, would stay alone beside it. The first one's node is enough, which
# is up before the broker: without data it waits for the others. Of nodes that see each other the
# oldest makes the cluster.
await_first() {
  until (exec 3<>"/dev/tcp/$FIRST/$NODE_PORT") 2>/dev/null; do sleep 1; done
}

# A broker that sees none of the others stops, so that its clients go to another one. Not
# pause_minority, which of three is the same otherwise: a broker that is back before it looked whether
# it has a majority goes on beside the others for ever then. Here it is restarted.
partitions() {
  local node number=0
  echo 'cluster_partition_handling = pause_if_all_down'
  echo 'cluster_partition_handling.pause_if_all_down.recover = autoheal'
  sed -n 's/^cluster_formation[.]classic_config[.]nodes[.].* = //p' "$CONFIG/95-cluster.conf" |
    while read -r node; do
      [ "$node" != "rabbit@$HOSTNAME" ] || continue
      number=$((number + 1))
      echo "cluster_partition_handling.pause_if_all_down.nodes.$number = $node"
    done
}

[[ ${RABBITMQ_ERLANG_COOKIE:-} =~ ^[A-Za-z0-9_]{1,255}$ ]] || {
  echo "start.sh: RABBITMQ_ERLANG_COOKIE must be letters, digits and underscores" >&2
  exit 2
}
rm -f "$COOKIE"
(umask 377 && printf '%s' "$RABBITMQ_ERLANG_COOKIE" >"$COOKIE")
chown rabbitmq: "$COOKIE"
unset RABBITMQ_ERLANG_COOKIE
partitions >"$CONFIG/96-partitions.conf"
[ "$HOSTNAME" = "$FIRST" ] || [ -d "$DATA" ] || await_first
exec bash /opt/minutebook/start.sh
