#!/bin/sh
# Post transactions by HTTP: post.sh FILE [KEY]. FILE is .json, .ndjson or .csv.
set -eu

[ $# -ge 1 ] || { echo "usage: post.sh FILE [KEY]" >&2 && exit 1; }
url=${GATEWAY_URL:-http://127.0.0.1:8080}
token=${GATEWAY_TOKEN:-password}
# Keep the key with what you send: after a crash, send the same again under the same key.
key=${2:-$(hostname)-$(date +%s)-$$}
case $1 in
  *.json) kind=application/json ;;
  *.ndjson) kind=application/x-ndjson ;;
  *.csv) kind=text/csv ;;
  *) echo "not .json, .ndjson or .csv: $1" >&2 && exit 1 ;;
esac

# Tries again after 408, 429, 5xx, as long as Retry-After says, and after lost connections: the key
# makes that harmless. The token comes by standard input, so that no list of processes shows it.
tries=10
until printf 'header = "Authorization: Bearer %s"\n' "$token" |
  curl -sS --fail-with-body --config - --retry 10 --retry-connrefused --retry-max-time 300 \
    -H "Content-Type: $kind" -H "Idempotency-Key: $key" --data-binary "@$1" "$url/v1/transactions"; do
  case $? in
    18 | 28 | 52 | 55 | 56) tries=$((tries - 1)) ;; # broken off: it may have come all the same
    *) tries=0 ;;
  esac
  [ "$tries" -gt 0 ] || { echo " not accepted; the key was $key" >&2 && exit 1; }
  sleep 2
done
echo
