#!/bin/sh
# Send one transaction by the broker's management page: send.sh PROVIDER_ID VALUE [MESSAGE_ID]
# For a person or a job now and then; programs that send much want a client of AMQP.
set -eu

[ $# -ge 2 ] || { echo "usage: send.sh PROVIDER_ID VALUE [MESSAGE_ID]" >&2 && exit 1; }
url=${RABBITMQ_MANAGEMENT_URL:-http://user:password@127.0.0.1:15672}
# Where there are several shards: the remainder that is never negative.
shards=${SHARDS:-1} exchange=amq.default key=incoming_transactions
if [ "$shards" -gt 1 ]; then
  exchange=transactions key=$((($1 % shards + shards) % shards))
fi
# An id that grows with time and that nobody else makes.
id=${3:-$(hostname)-$(date +%s)-$$}

answer=$(curl -sS --fail-with-body -H 'content-type: application/json' \
  "$url/api/exchanges/%2F/$exchange/publish" -d @- <<JSON
{"routing_key": "$key",
 "properties": {"delivery_mode": 2, "message_id": "$id"},
 "payload": "{\"id\": $1, \"value\": $2}", "payload_encoding": "string"}
JSON
) || { echo "not sent: $answer" >&2 && exit 1; }
# The broker answers after its own confirm.
case $answer in
  *'"routed":true'*) echo "confirmed $id" ;;
  *) echo "not sent: $answer" >&2 && exit 1 ;;
esac
