#!/bin/bash
# Answers to what compose uses of the official image's entrypoint: as root it
# hands the data folder to the user rabbitmq and becomes that user.
set -euo pipefail

case ${1:-} in
  rabbitmq*)
    if [ "$(id -u)" = 0 ]; then
      find /var/lib/rabbitmq ! -user rabbitmq -exec chown rabbitmq:rabbitmq {} +
      exec setpriv --reuid=rabbitmq --regid=rabbitmq --init-groups "$@"
    fi
    ;;
esac
exec "$@"
