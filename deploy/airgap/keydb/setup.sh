#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
install -d -o valkey -g valkey /data
for name in server cli benchmark check-aof check-rdb; do
  ln -s "/usr/bin/valkey-$name" "/usr/local/bin/keydb-$name"
done
