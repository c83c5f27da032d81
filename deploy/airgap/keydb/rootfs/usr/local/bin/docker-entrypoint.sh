#!/bin/bash
# Answers to what compose uses of KeyDB's own image: options alone are the
# server's; as root it hands /data to the server's user and becomes that user.
set -euo pipefail

case ${1:-} in
  -* | *.conf) set -- keydb-server "$@" ;;
esac
if [ "${1:-}" = keydb-server ] && [ "$(id -u)" = 0 ]; then
  echo "keydb: this is a stand-in, Valkey from Debian 13, not KeyDB" >&2
  find /data ! -user valkey -exec chown valkey:valkey {} +
  exec setpriv --reuid=valkey --regid=valkey --init-groups "$@"
fi
exec "$@"
