#!/bin/bash
# Answers to what compose uses of the official image's entrypoint.
set -euo pipefail

main() {
  case ${1:-} in
    -*) set -- postgres "$@" ;;
  esac
  if [ "${1:-}" != postgres ]; then
    exec "$@"
  fi
  if [ "$(id -u)" = 0 ]; then
    own_folders
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
  fi
  [ -s "$PGDATA/PG_VERSION" ] || create_cluster
  exec "$@"
}

own_folders() {
  install -d -m 700 "$PGDATA"
  install -d -m 3775 /var/run/postgresql
  find "$PGDATA" /var/run/postgresql ! -user postgres -exec chown postgres:postgres {} +
}

# A container killed half-way through must not leave half a cluster that the
# next start takes for whole: it is made in a subfolder, and the file that says
# "here is a cluster" is moved up last.
create_cluster() {
  local new=$PGDATA/.new user=${POSTGRES_USER:-postgres}
  if [ -z "${POSTGRES_PASSWORD:-}" ]; then
    echo "postgres: POSTGRES_PASSWORD must be set to create a database" >&2
    exit 1
  fi
  [ ! -e "$new" ] || find "$PGDATA" -mindepth 1 -delete
  # The arguments are several words, as in the official image.
  # shellcheck disable=SC2086
  initdb --pgdata="$new" --username="$user" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") \
    --encoding=UTF8 --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-}
  echo "host all all all scram-sha-256" >>"$new/pg_hba.conf"
  echo "listen_addresses = '*'" >>"$new/postgresql.conf"
  create_database "${POSTGRES_DB:-$user}" "$new"
  find "$new" -mindepth 1 -maxdepth 1 ! -name PG_VERSION -exec mv -t "$PGDATA" {} +
  mv "$new/PG_VERSION" "$PGDATA"
  rmdir "$new"
}

# Single-user mode: nobody can connect before the database is there.
create_database() {
  [ "$1" != postgres ] || return 0
  printf 'CREATE DATABASE "%s"\n' "${1//\"/\"\"}" | postgres --single -D "$2" postgres >/dev/null
}

main "$@"
