#!/bin/bash
# Starts the broker as its image does, with our users, what each may do, and our policy. They are
# definitions, which the broker reads at every start before it lets anybody in: a changed password
# counts from the next start on. The file holds passwords, so it is in memory.
#
#   RABBITMQ_USER, RABBITMQ_PASSWORD  an administrator; producers publish by it, too
#   RABBITMQ_INGEST_PASSWORD          of user ingest, who reads INGEST_QUEUE and publishes nothing
#   RABBITMQ_TICKER_PASSWORD          of user ticker, who publishes to exchange ticks only
#   RABBITMQ_SYNCER_PASSWORD          of user syncer, who reads queue syncer.ticks
#   RABBITMQ_OPS_PASSWORD             of user ops, who publishes and looks (operators)
#   INGEST_QUEUE, INGEST_STREAM       the queue of transactions; a stream of them
#
# A user whose password is not given is not made. NAME_FILE instead of NAME names a file with it.
set -euo pipefail

DEFINITIONS=/dev/shm/minutebook-definitions.json
FILES_MAX=65536
users='' permissions=''

main() {
  : "${RABBITMQ_USER:?must be set}" "${INGEST_QUEUE:?must be set}"
  case $RABBITMQ_USER,$INGEST_QUEUE,${INGEST_STREAM:-} in
    *[[:cntrl:]\\]*) refuse "a name holds a backslash or a control character" ;;
    ingest,* | ticker,* | syncer,* | ops,*) refuse "RABBITMQ_USER is the name of a service's user" ;;
  esac
  # Names as regular expressions, which is how RabbitMQ knows rights; \Q...\E is a name as it is. A
  # declare configures, a publish writes to its exchange, a bind writes to the queue and reads the
  # exchange. amq.default is the exchange by which queues are reached by name.
  local sources="^(\Q$INGEST_QUEUE\E${INGEST_STREAM:+|\Q$INGEST_STREAM\E})\$"
  local queue='^syncer[.]ticks$' ticks='^(ticks|syncer[.]ticks)$'
  user "$RABBITMQ_USER" administrator RABBITMQ_PASSWORD '.*' '.*' '.*'
  user ingest '' RABBITMQ_INGEST_PASSWORD "$sources" '' "$sources"
  user ticker '' RABBITMQ_TICKER_PASSWORD '^ticks$' '^ticks$' ''
  user syncer '' RABBITMQ_SYNCER_PASSWORD "$ticks" "$queue" "$ticks"
  user ops monitoring RABBITMQ_OPS_PASSWORD '' '^amq[.]default$' ''

  rm -f "$DEFINITIONS"
  (umask 077 && definitions >"$DEFINITIONS")
  [ "$(id -u)" != 0 ] || chown rabbitmq: "$DEFINITIONS"
  unset RABBITMQ_{USER,PASSWORD,{INGEST,TICKER,SYNCER,OPS}_PASSWORD} INGEST_QUEUE INGEST_STREAM
  # Erlang reserves memory for every file that it might open, and some engines allow a billion. Not
  # left to compose: that fails where the machine's own limit is lower.
  local limit
  limit=$(ulimit -n)
  if [ "$limit" = unlimited ] || [ "$limit" -gt "$FILES_MAX" ]; then ulimit -n "$FILES_MAX"; fi
  exec docker-entrypoint.sh rabbitmq-server
}

# user NAME TAG VARIABLE CONFIGURE WRITE READ: adds a user whose password is in VARIABLE or its file.
user() {
  local name=$1 tag=$2 file=$3_FILE password=${!3:-} user permission
  [ -z "${!file:-}" ] || password=$(cat "${!file}")
  case $password in
    '')
      [ "$tag" != administrator ] || refuse "$3 must be set"
      return
      ;;
    *[[:cntrl:]]*) refuse "$3 holds a control character" ;;
  esac
  printf -v user '{"name": %s, "tags": "%s", "password": %s}' \
    "$(json "$name")" "$tag" "$(json "$password")"
  printf -v permission '{"user": %s, "vhost": "/", "configure": %s, "write": %s, "read": %s}' \
    "$(json "$name")" "$(json "$4")" "$(json "$5")" "$(json "$6")"
  users+="${users:+, }$user"
  permissions+="${permissions:+, }$permission"
}

# delivery-limit -1: quorum queues of RabbitMQ 4 otherwise drop a message after 20 redeliveries, that
# is, after 20 crashes of a good consumer. The queue type is said twice, since versions differ.
definitions() {
  cat <<JSON
{
  "vhosts": [
    {"name": "/", "default_queue_type": "quorum", "metadata": {"default_queue_type": "quorum"}}
  ],
  "users": [$users],
  "permissions": [$permissions],
  "policies": [
    {"name": "minutebook", "vhost": "/", "pattern": $(json "^(\Q$INGEST_QUEUE\E|syncer[.]ticks)\$"),
     "apply-to": "queues", "priority": 0, "definition": {"delivery-limit": -1}}
  ]
}
JSON
}

json() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

refuse() {
  echo "start.sh: $1" >&2
  exit 2
}

main
