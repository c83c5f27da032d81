#!/bin/bash
# Writes the broker's definitions from the environment, then starts it the way
# its image does. The password's hash is made here, so that none is committed.
#
#   RABBITMQ_USER, RABBITMQ_PASSWORD  an administrator; producers publish by it, too
#   RABBITMQ_INGEST_PASSWORD          of user ingest, who reads INGEST_QUEUE and publishes nothing
#   RABBITMQ_TICKER_PASSWORD          of user ticker, who publishes to exchange ticks only
#   RABBITMQ_SYNCER_PASSWORD          of user syncer, who reads queue syncer.ticks and copies of it
#   RABBITMQ_OPS_PASSWORD             of user ops, who publishes and looks (operators)
#   INGEST_QUEUE, INGEST_STREAM       the queue whose messages must never be dropped; a stream
#
# A user whose password is not given is not made. NAME_FILE instead of NAME names a file with it.
#
# The definitions are read at every start: a changed password takes effect at
# the next one. With definitions given, the broker makes no guest of its own.
set -euo pipefail

FILES_MAX=65536
SERVICES="ingest ticker syncer ops"
DEFINITIONS=/etc/rabbitmq/minutebook-definitions.json

PASSWORDS="RABBITMQ_PASSWORD RABBITMQ_INGEST_PASSWORD RABBITMQ_TICKER_PASSWORD
  RABBITMQ_SYNCER_PASSWORD RABBITMQ_OPS_PASSWORD"

main() {
  read_files
  : "${RABBITMQ_USER:?must be set}" "${RABBITMQ_PASSWORD:?must be set}" "${INGEST_QUEUE:?must be set}"
  (umask 077 && definitions >"$DEFINITIONS")
  if [ "$(id -u)" = 0 ]; then
    chown rabbitmq:rabbitmq "$DEFINITIONS"
  fi
  unset RABBITMQ_USER INGEST_QUEUE INGEST_STREAM
  # shellcheck disable=SC2086
  unset $PASSWORDS
  limit_open_files
  exec docker-entrypoint.sh rabbitmq-server
}

read_files() {
  local name file
  for name in $PASSWORDS; do
    file=${name}_FILE
    if [ -n "${!file:-}" ]; then
      printf -v "$name" '%s' "$(cat "${!file}")"
    fi
  done
}

# Erlang reserves memory for every file that it might open, and some engines
# allow a billion. Lowered here: compose could only set it, and fails where the
# machine's own limit is lower.
limit_open_files() {
  local limit
  limit=$(ulimit -n)
  if [ "$limit" = unlimited ] || [ "$limit" -gt "$FILES_MAX" ]; then
    ulimit -n "$FILES_MAX"
  fi
}

# delivery-limit -1: quorum queues of RabbitMQ 4 otherwise drop a message after
# 20 redeliveries, that is, after 20 crashes of a good consumer.
definitions() {
  local users permissions service
  users=$(user "$RABBITMQ_USER" "$RABBITMQ_PASSWORD" administrator)
  permissions=$(permission "$RABBITMQ_USER" ".*" ".*" ".*")
  for service in $SERVICES; do
    local password=RABBITMQ_${service^^}_PASSWORD
    [ -n "${!password:-}" ] || continue
    if [ "$service" = "$RABBITMQ_USER" ]; then
      echo "start.sh: RABBITMQ_USER must not be $service: that is a service's user" >&2
      exit 2
    fi
    users+=", $(user "$service" "${!password}" "$(tag_of "$service")")"
    permissions+=", $(permission_of "$service")"
  done
  cat <<JSON
{
  "users": [$users],
  "vhosts": [
    {"name": "/", "description": "Minutebook", "tags": [], "default_queue_type": "quorum", "metadata": {"description": "Minutebook", "tags": [], "default_queue_type": "quorum"}}
  ],
  "permissions": [$permissions],
  "policies": [
    {"name": "minutebook-ingest", "vhost": "/", "pattern": $(json_string "$(exactly "$INGEST_QUEUE")"), "apply-to": "queues", "priority": 0, "definition": {"delivery-limit": -1}}
  ]
}
JSON
}

# Operators look at the management page; nobody else has business there.
tag_of() {
  [ "$1" != ops ] || echo monitoring
}

# What may be configured, written, read, as the services need it: a declare is configure, a publish
# writes to its exchange, a bind writes to the queue and reads the exchange. The default exchange, by
# which queues are reached by name, is amq.default.
permission_of() {
  local sources ticks queues
  sources=$(exactly "$INGEST_QUEUE" ${INGEST_STREAM:+"$INGEST_STREAM"})
  ticks=$(exactly ticks)
  queues="$(exactly syncer.ticks)|^$(regex_literal syncer.ticks.copy-)"
  case $1 in
    ingest) permission ingest "$sources" "" "$sources" ;;
    ticker) permission ticker "$ticks" "$ticks" "" ;;
    syncer) permission syncer "$ticks|$queues" "$queues" "$ticks|$queues" ;;
    ops) permission ops "" "$(exactly amq.default)" "" ;;
  esac
}

user() {
  printf '{"name": %s, "password_hash": "%s", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": [%s], "limits": {}}' \
    "$(json_string "$1")" "$(password_hash "$2")" "${3:+$(json_string "$3")}"
}

permission() {
  printf '{"user": %s, "vhost": "/", "configure": %s, "write": %s, "read": %s}' \
    "$(json_string "$1")" "$(json_string "$2")" "$(json_string "$3")" "$(json_string "$4")"
}

# The regular expression of these names and no others.
exactly() {
  local name names=
  for name in "$@"; do
    names+="${names:+|}$(regex_literal "$name")"
  done
  printf '^(%s)$' "$names"
}

# RabbitMQ's own: base64(salt + sha256(salt + password)), a salt of 4 bytes.
# The bytes travel as hex, because a shell variable holds no NUL; printf is the
# shell's own, so that no argument shows in a process list.
password_hash() {
  local salt digest
  salt=$(head -c 4 /dev/urandom | od -An -v -t x1 | tr -d ' \n')
  digest=$({ hex_bytes "$salt" && printf '%s' "$1"; } | sha256sum | cut -d ' ' -f 1)
  hex_bytes "$salt$digest" | base64 -w 0
}

hex_bytes() {
  # The format is the data: \xNN for every pair of digits.
  # shellcheck disable=SC2059
  printf "$(printf '%s' "$1" | sed 's/../\\x&/g')"
}

json_string() {
  local text=$1
  case $text in
    *[[:cntrl:]]*) echo "start.sh: control characters in a name" >&2 && exit 2 ;;
  esac
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$text"
}

regex_literal() {
  printf '%s' "$1" | sed 's/[][\.*^$+?(){}|]/\\&/g'
}

main
