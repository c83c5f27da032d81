#!/bin/bash
# Starts the broker as its image does, with our users, what each may do, and our policy. They are
# definitions, which the broker reads at every start before it lets anybody in: a changed password
# counts from the next start on. The file holds passwords, so it is in memory.
#
#   RABBITMQ_USER, RABBITMQ_PASSWORD  an administrator; producers publish by it, too
#   RABBITMQ_INGEST_PASSWORD          of user ingest, who reads INGEST_QUEUE and publishes nothing
#   RABBITMQ_TICKER_PASSWORD          of user ticker, who publishes to exchange ticks only
#   RABBITMQ_SYNCER_PASSWORD          of user syncer, who reads queue syncer.ticks
#   RABBITMQ_FEED_PASSWORD            of user feed, who publishes to exchange changes only
#   RABBITMQ_NOTIFIER_PASSWORD        of user notifier, who publishes to exchange notifications only,
#                                     and reads alerts, notifications.delivered and prices
#   RABBITMQ_GATEWAY_PASSWORD         of user gateway, who publishes to exchange gateway only
#   RABBITMQ_TRACKER_PASSWORD         of user tracker, who reads queue requests, and publishes
#                                     transactions and replies
#   RABBITMQ_OBSERVER_PASSWORD        of user observer, who reads queue sightings, and publishes to
#                                     exchange sightings.retry only
#   RABBITMQ_CONSOLE_PASSWORD         of user console, who only looks
#   RABBITMQ_OPS_PASSWORD             of user ops, who publishes and looks (operators)
#   RABBITMQ_QUEUE_MAX_BYTES          what each queue around the core may hold (default 1 GiB)
#   INGEST_QUEUE, INGEST_STREAM       the queue of transactions; a stream of them
#   SHARD                             k/N: there are N shards, whose names end in .0 to .N-1
#
# A user whose password is not given is not made. NAME_FILE instead of NAME names a file with it.
set -euo pipefail

DEFINITIONS=/dev/shm/minutebook-definitions.json
FILES_MAX=65536
QUEUE_MAX_BYTES=${RABBITMQ_QUEUE_MAX_BYTES:-1073741824}
users='' permissions=''
# How many shards there are, and what their names end in, as a regular expression.
SHARDS=1 OF_SHARD=''

main() {
  : "${RABBITMQ_USER:?must be set}" "${INGEST_QUEUE:?must be set}"
  case $RABBITMQ_USER,$INGEST_QUEUE,${INGEST_STREAM:-} in
    *[[:cntrl:]\\]*) refuse "a name holds a backslash or a control character" ;;
    ingest,* | ticker,* | syncer,* | feed,* | notifier,* | gateway,* | tracker,* | observer,* | console,* |\
    ops,*)
      refuse "RABBITMQ_USER is the name of a service's user"
      ;;
  esac
  [[ $QUEUE_MAX_BYTES =~ ^[1-9][0-9]{0,14}$ ]] || refuse "RABBITMQ_QUEUE_MAX_BYTES must be a number"
  [[ ${SHARD:-0/1} =~ ^[0-9]{1,4}/([1-9][0-9]{0,3})$ ]] || refuse "SHARD must be of the form k/N"
  SHARDS=${BASH_REMATCH[1]}
  [ "$SHARDS" = 1 ] || OF_SHARD='[.][0-9]+'
  # Names as regular expressions, which is how RabbitMQ knows rights; \Q...\E is a name as it is. A
  # declare configures, a publish writes to its exchange, a bind writes to the queue and reads the
  # exchange. amq.default is the exchange by which queues are reached by name.
  local sources="\Q$INGEST_QUEUE\E$OF_SHARD${INGEST_STREAM:+|\Q$INGEST_STREAM\E$OF_SHARD}"
  local queue="^syncer[.]ticks$OF_SHARD\$" ticks="^(ticks|syncer[.]ticks$OF_SHARD)\$"
  # The exchange of shards, which ingest makes and binds its queue to.
  local bound='' reached="^($sources)\$" published='^amq[.]default$'
  if [ "$SHARDS" != 1 ]; then
    bound="^($sources)\$" reached="^(transactions|$sources)\$"
    published='^(amq[.]default|transactions)$'
  fi
  user "$RABBITMQ_USER" administrator RABBITMQ_PASSWORD '.*' '.*' '.*'
  user ingest '' RABBITMQ_INGEST_PASSWORD "$reached" "$bound" "$reached"
  user ticker '' RABBITMQ_TICKER_PASSWORD '^ticks$' '^ticks$' ''
  user syncer '' RABBITMQ_SYNCER_PASSWORD "$ticks" "$queue" "$ticks"
  local records="^(alerts|notifications[.]delivered|prices)$OF_SHARD\$"
  local notifier="^(notifications|alerts|notifications[.]delivered|prices)$OF_SHARD\$"
  local changes="^changes$OF_SHARD\$" told="^notifications$OF_SHARD\$" asked="^requests$OF_SHARD\$"
  user feed '' RABBITMQ_FEED_PASSWORD "$changes" "$changes" ''
  user notifier '' RABBITMQ_NOTIFIER_PASSWORD "$notifier" "$told" "$records"
  # Queues are reached by their names through the default exchange alone, and it has no finer right:
  # that replies go to reply queues only is what the tracker sees to.
  user gateway '' RABBITMQ_GATEWAY_PASSWORD '' '^gateway$' ''
  user tracker '' RABBITMQ_TRACKER_PASSWORD "$asked" '^amq[.]default$' "$asked"
  # It makes the exchange of its retries, with its queues; to bind one is to write to it.
  local sightings='^sightings([.]retry([.][0-9]+)?)?$'
  user observer '' RABBITMQ_OBSERVER_PASSWORD "$sightings" "$sightings" "$sightings"
  # What it replays it stores itself, as ingest does: it publishes nothing.
  user console monitoring RABBITMQ_CONSOLE_PASSWORD '' '' ''
  user ops monitoring RABBITMQ_OPS_PASSWORD '' "$published" ''

  rm -f "$DEFINITIONS"
  (umask 077 && definitions >"$DEFINITIONS")
  [ "$(id -u)" != 0 ] || chown rabbitmq: "$DEFINITIONS"
  unset RABBITMQ_{USER,PASSWORD,{INGEST,TICKER,SYNCER,FEED,NOTIFIER,GATEWAY,TRACKER,OBSERVER,CONSOLE,OPS}_PASSWORD}
  unset RABBITMQ_QUEUE_MAX_BYTES INGEST_QUEUE INGEST_STREAM SHARD
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

# Queues around the core hold so much and no more: one whose consumer died would otherwise raise the
# broker's alarm, which stops the ticker. Of events the oldest go, since they can be asked for again
# (ops feed replay); all else is refused to who publishes it. A queue has one policy, of the
# highest priority: that of transactions is never bounded, whatever its name.
#
# The gateway publishes to an exchange of its own, since rights are per exchange: what it may reach are
# the queues bound there.
#
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
  "exchanges": [
    {"name": "gateway", "vhost": "/", "type": "direct", "durable": true, "auto_delete": false,
     "internal": false, "arguments": {}}
  ],
  "queues": [
$(fed_by_gateway queue sightings)$(of_shards queue requests)
$(of_shards queue alerts ', "x-single-active-consumer": true')
  ],
  "bindings": [
$(fed_by_gateway binding sightings)$(of_shards binding requests)
$(of_shards binding alerts)
  ],
  "policies": [
    {"name": "minutebook", "vhost": "/", "pattern": $(json "^(\Q$INGEST_QUEUE\E|syncer[.]ticks)$OF_SHARD\$"),
     "apply-to": "queues", "priority": 1, "definition": {"delivery-limit": -1}},
$(bounded minutebook-changes '^changes[.]' drop-head),
$(bounded minutebook-bounded \
    "^((alerts|prices|requests)$OF_SHARD|(notifications|replies)[.].+|sightings.*)\$" reject-publish)
  ]
}
JSON
}

# bounded NAME PATTERN OVERFLOW: the policy of queues that hold only so much.
bounded() {
  cat <<JSON
    {"name": "$1", "vhost": "/", "pattern": $(json "$2"), "apply-to": "queues", "priority": 0,
     "definition": {"delivery-limit": -1, "max-length-bytes": $QUEUE_MAX_BYTES, "overflow": "$3"}}
JSON
}

# of_shards queue|binding NAME [ARGUMENTS]: the same for each shard, each after a comma.
of_shards() {
  local number
  for ((number = 0; number < SHARDS; number++)); do
    printf ',\n'
    if [ "$SHARDS" = 1 ]; then fed_by_gateway "$@"; else fed_by_gateway "$1" "$2.$number" "${@:3}"; fi
  done
}

# fed_by_gateway queue|binding NAME [ARGUMENTS]: a queue that the gateway publishes to by its name.
fed_by_gateway() {
  if [ "$1" = queue ]; then
    printf '    {"name": "%s", "vhost": "/", "durable": true, "auto_delete": false, ' "$2"
    printf '"arguments": {"x-queue-type": "quorum"%s}}' "${3:-}"
  else
    printf '    {"source": "gateway", "vhost": "/", "destination": "%s", ' "$2"
    printf '"destination_type": "queue", "routing_key": "%s", "arguments": {}}' "$2"
  fi
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
