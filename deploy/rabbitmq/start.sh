#!/bin/bash
# Writes the broker's definitions from the environment, then starts it the way
# its image does. The password's hash is made here, so that none is committed.
#
#   RABBITMQ_USER, RABBITMQ_PASSWORD  the one user, an administrator
#   INGEST_QUEUE                      the queue whose messages must never be dropped
#
# The definitions are read at every start: a changed password takes effect at
# the next one. With definitions given, the broker makes no guest of its own.
set -euo pipefail

FILES_MAX=65536
DEFINITIONS=/etc/rabbitmq/minutebook-definitions.json

main() {
  : "${RABBITMQ_USER:?must be set}" "${RABBITMQ_PASSWORD:?must be set}" "${INGEST_QUEUE:?must be set}"
  (umask 077 && definitions >"$DEFINITIONS")
  if [ "$(id -u)" = 0 ]; then
    chown rabbitmq:rabbitmq "$DEFINITIONS"
  fi
  unset RABBITMQ_USER RABBITMQ_PASSWORD INGEST_QUEUE
  limit_open_files
  exec docker-entrypoint.sh rabbitmq-server
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
  local user pattern hash
  user=$(json_string "$RABBITMQ_USER")
  pattern=$(json_string "^$(regex_literal "$INGEST_QUEUE")\$")
  hash=$(password_hash "$RABBITMQ_PASSWORD")
  cat <<JSON
{
  "users": [
    {"name": $user, "password_hash": "$hash", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"], "limits": {}}
  ],
  "vhosts": [
    {"name": "/", "description": "Minutebook", "tags": [], "default_queue_type": "quorum", "metadata": {"description": "Minutebook", "tags": [], "default_queue_type": "quorum"}}
  ],
  "permissions": [
    {"user": $user, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
  ],
  "policies": [
    {"name": "minutebook-ingest", "vhost": "/", "pattern": $pattern, "apply-to": "queues", "priority": 0, "definition": {"delivery-limit": -1}}
  ]
}
JSON
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
