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
POLL_EVERY_S=20
IS_APART='rabbit:is_running() andalso not rabbit_khepri:is_enabled() andalso
  2 * length(rabbit_mnesia:cluster_nodes(running)) =< length(rabbit_mnesia:cluster_nodes(all)).'

# A broker without data must not make a cluster before the first one is there: that one, with the
# data of a broker without cluster, would stay alone beside it. The first one's node is enough, which
# is up before the broker: without data it waits for the others. Of nodes that see each other the
# oldest makes the cluster.
await_first() {
  until (exec 3<>"/dev/tcp/$FIRST/$NODE_PORT") 2>/dev/null; do sleep 1; done
}

# Where a cut ended at a bad moment, brokers that reach each other may wait for each other all the same,
# and never stop waiting: autoheal did so. One that has been without most others in two looks is restarted,
# by its engine, and then joins them; if it does not end by itself it is killed. A broker whose data is
# kept by Khepri needs none of this, and is not asked.
watch() {
  local apart=0
  while sleep "$POLL_EVERY_S"; do
    apart=$((apart + 1))
    [ "$(rabbitmqctl --silent --timeout 10 eval "$IS_APART" 2>/dev/null)" = true ] || apart=0
    case $apart in
      0 | 1) ;;
      2 | 3)
        echo "start.sh: this broker runs without most others; it is restarted" >&2
        kill -TERM "$$"
        ;;
      *) kill -KILL "$$" ;;
    esac
  done
}

# A broker that sees none of the others stops, so that its clients go to another one. Not
# pause_minority, which of three is the same otherwise: a broker that is back before it looked whether
# it has a majority goes on beside the others permanently then. Here it is restarted.
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
watch &
exec bash /opt/minutebook/start.sh
