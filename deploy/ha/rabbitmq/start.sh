#!/bin/bash
# Starts one broker of a cluster: as start.sh beside compose.yaml does, once it has the secret that all
# brokers of the cluster share.
#
#   RABBITMQ_ERLANG_COOKIE  letters, digits and underscores
set -euo pipefail

COOKIE=/var/lib/rabbitmq/.erlang.cookie

[[ ${RABBITMQ_ERLANG_COOKIE:-} =~ ^[A-Za-z0-9_]{1,255}$ ]] || {
  echo "start.sh: RABBITMQ_ERLANG_COOKIE must be letters, digits and underscores" >&2
  exit 2
}
rm -f "$COOKIE"
(umask 377 && printf '%s' "$RABBITMQ_ERLANG_COOKIE" >"$COOKIE")
chown rabbitmq: "$COOKIE"
unset RABBITMQ_ERLANG_COOKIE
exec bash /opt/minutebook/start.sh
