#!/bin/bash
# Starts one member of the Postgres cluster: Patroni, which starts the server, as primary or replica.
#
#   NAME                              of this member, by which the others reach it
#   ETCD_HOSTS                        host:port of each member of etcd, separated by commas
#   POSTGRES_USER, POSTGRES_PASSWORD  the owner; replicas log in by it, too
#   POSTGRES_DB                       the database, made with the cluster
#   POSTGRES_SHARED_BUFFERS and its like, as in compose.yaml
#
# A data folder that a server of compose.yaml has filled becomes the cluster's first primary: it is that
# of the member called postgres, which alone makes a cluster where there is none.
set -euo pipefail

CONFIG=/dev/shm/patroni.yaml
FIRST=postgres
VOLUME=/var/lib/postgresql/data
# Below it: Patroni renames the data folder of a copy that failed, and a volume cannot be renamed.
export PGDATA=$VOLUME/cluster

main() {
  if [ "$(id -u)" = 0 ]; then
    install -d -m 700 -o postgres -g postgres "$PGDATA"
    install -d -m 3775 -o postgres -g postgres /var/run/postgresql
    if [ -s "$VOLUME/PG_VERSION" ]; then
      find "$VOLUME" -mindepth 1 -maxdepth 1 ! -path "$PGDATA" -exec mv -t "$PGDATA" {} +
    fi
    chown postgres:postgres "$VOLUME"
    find "$PGDATA" ! -user postgres -exec chown postgres:postgres {} +
    exec setpriv --reuid=postgres --regid=postgres --init-groups bash "$0"
  fi
  (umask 077 && config >"$CONFIG")
  [ "$NAME" = "$FIRST" ] || [ -s "$PGDATA/PG_VERSION" ] || await_cluster
  exec patroni "$CONFIG"
}

# Whoever comes first with Patroni makes the cluster. One without data must not: it would be empty, and
# the first member, with the data of a server without clusters, be refused for good.
await_cluster() {
  until etcdctl --endpoints="$ETCD_HOSTS" get --print-value-only /service/minutebook/initialize 2>/dev/null |
    grep -q .; do
    sleep 1
  done
}

# ttl: a leader that is silent for so long is replaced; 20 s is the least that Patroni takes.
# retry_timeout: a leader that reaches etcd no more gives up after so long, well before that.
# primary_start_timeout: a primary whose process died is replaced, not restarted: recovery may be long.
# synchronous_mode: only a replica that has all commits becomes the primary. Where there is no replica
# left, the primary goes on alone, and nobody else can take over.
# checkpoint fast: else a new member waits for a checkpoint at its leisure, which is most of 15 minutes.
# failsafe_mode: an outage of etcd alone does not stop the primary.
config() {
  cat <<YAML
scope: minutebook
name: $NAME
etcd3: {hosts: "$ETCD_HOSTS"}
log: {level: WARNING}
restapi:
  listen: 0.0.0.0:8008
  connect_address: $NAME:8008
  authentication: {username: $(json "$POSTGRES_USER"), password: $(json "$POSTGRES_PASSWORD")}
bootstrap:
  dcs:
    ttl: 20
    loop_wait: 2
    retry_timeout: 5
    primary_start_timeout: 0
    synchronous_mode: true
    failsafe_mode: true
    postgresql:
      use_pg_rewind: true
      parameters: {max_prepared_transactions: 10, max_connections: 100, wal_log_hints: "on"}
  initdb: [{encoding: UTF8}, {locale: C.UTF-8}, data-checksums]
  post_bootstrap: bash /opt/minutebook/create_database.sh
postgresql:
  listen: 0.0.0.0:5432
  connect_address: $NAME:5432
  use_unix_socket: true
  data_dir: $PGDATA
  pgpass: /dev/shm/pgpass
  basebackup: {checkpoint: fast}
  remove_data_directory_on_rewind_failure: true
  remove_data_directory_on_diverged_timelines: true
  authentication:
    superuser: &login {username: $(json "$POSTGRES_USER"), password: $(json "$POSTGRES_PASSWORD")}
    replication: *login
    rewind: *login
  pg_hba:
    - local all all trust
    - host replication $(json "$POSTGRES_USER") all scram-sha-256
    - host all all all scram-sha-256
  parameters:
    synchronous_commit: "on"
    idle_in_transaction_session_timeout: 10min
    shared_buffers: ${POSTGRES_SHARED_BUFFERS:-128MB}
    max_wal_size: ${POSTGRES_MAX_WAL_SIZE:-4GB}
    checkpoint_timeout: ${POSTGRES_CHECKPOINT_TIMEOUT:-15min}
    wal_compression: ${POSTGRES_WAL_COMPRESSION:-"off"}
    wal_sender_timeout: 10s
    wal_receiver_timeout: 10s
YAML
}

json() {
  local text=${1//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

main
