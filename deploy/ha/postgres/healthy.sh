#!/bin/bash
# Exit 0 while Patroni says that its Postgres runs, as primary or as replica.
set -euo pipefail

exec 3<>/dev/tcp/127.0.0.1/8008
printf 'GET /health HTTP/1.0\r\n\r\n' >&3
read -r -t 3 answer <&3
timeout 3 cat <&3 >/dev/null
[[ $answer == *" 200 "* ]]
