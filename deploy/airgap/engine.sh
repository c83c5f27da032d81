#!/usr/bin/env bash
# Ensures that a Docker engine answers and that `docker compose` is version 2.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"

COMPOSE_MINOR_MIN=17 # of 2.x: the first to take --env-file more than once
START_TIMEOUT_S=60
DOCKERD_LOG=/var/log/dockerd.log
PLUGIN_DIR=/usr/local/lib/docker/cli-plugins
LOCK=/var/lock/minutebook-engine.lock

usage() {
  cat <<'TEXT'
usage: deploy/airgap/engine.sh [--help]

Ensures that a Docker engine answers and that Docker Compose v2 is there.
Does nothing, silently, where both are. Otherwise, as root on Debian or Ubuntu:
installs the distribution's docker.io, starts it, and adds Compose v2. Asks
first on a terminal; goes on where there is none, or where CI is set.

Exit status: 0 both are there, 2 usage, 3 they are not and cannot be had here.
TEXT
}

main() {
  case ${1:-} in
    "") ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  if engine_answers && compose_is_new_enough; then
    exit 0
  fi
  refuse_where_we_cannot_help
  confirm "no Docker engine with Compose v2 answers here; install or start what is missing?"
  # Two callers at once (make demo beside make test) must not install twice.
  exec 9>"$LOCK"
  flock 9
  engine_answers || bring_up_engine
  compose_is_new_enough || install_compose
  say "engine $(docker version --format '{{.Server.Version}}'), compose $(docker compose version --short)"
}

engine_answers() {
  docker version --format '{{.Server.Version}}' >/dev/null 2>&1
}

compose_is_new_enough() {
  local version major minor
  version=$(docker compose version --short 2>/dev/null) || return 1
  version=${version#v}
  major=${version%%.*}
  minor=${version#*.}
  minor=${minor%%.*}
  [ "$major" -gt 2 ] || { [ "$major" -eq 2 ] && [ "$minor" -ge "$COMPOSE_MINOR_MIN" ]; }
}

refuse_where_we_cannot_help() {
  if ! engine_answers && [ -n "${DOCKER_HOST:-}" ]; then
    fail "DOCKER_HOST is set, but no engine answers there; start that engine or unset DOCKER_HOST"
  fi
  root_on debian ubuntu && return 0
  if engine_answers; then
    fail "Docker answers, but \`docker compose\` is missing or older than 2.$COMPOSE_MINOR_MIN; install the Compose plugin: https://docs.docker.com/compose/install/"
  fi
  case $(distribution) in
    macos) fail "no Docker engine answers; install Docker Desktop (or OrbStack, Colima), start it, and try again" ;;
    debian | ubuntu) fail "no Docker engine answers; start it, or run this as root to have it installed (sudo deploy/airgap/engine.sh); if it runs, your user may lack the group docker" ;;
    *) fail "no Docker engine answers; install Docker Engine with its Compose plugin (https://docs.docker.com/engine/install/), start it, and try again" ;;
  esac
}

bring_up_engine() {
  if ! command -v dockerd >/dev/null || ! command -v docker >/dev/null; then
    install_missing docker.io containerd runc iptables ca-certificates
  fi
  start_engine
}

DOCKERD_PID=
start_engine() {
  if [ -d /run/systemd/system ]; then
    say "starting docker (systemctl)"
    # What the unit still holds open must not include our lock.
    systemctl reset-failed docker.service 2>/dev/null || true
    systemctl start docker.service 9>&- || true
  else
    forget_dead_engine
    say "starting dockerd (log: $DOCKERD_LOG)"
    setsid nohup dockerd >>"$DOCKERD_LOG" 2>&1 </dev/null 9>&- &
    DOCKERD_PID=$!
  fi
  wait_for_engine
}

# Where every process died at once, their files are still there. A pid in them
# may by now belong to something else, and dockerd would then refuse to start
# or wait for a containerd that is not one.
forget_dead_engine() {
  local pid_file
  if ! runs dockerd; then
    rm -f /var/run/docker.pid /var/run/docker.sock
  fi
  for pid_file in /var/run/docker/containerd/containerd.pid /run/containerd/containerd.pid; do
    [ -e "$pid_file" ] || continue
    runs containerd "$(cat "$pid_file")" || rm -f "$pid_file"
  done
  if ! runs containerd; then
    rm -f /run/containerd/containerd.sock* /var/run/docker/containerd/*.sock*
  fi
}

# Whether a process of this name runs, under pid $2 if given. A zombie does not
# run, though pgrep finds it; processes come and go while this looks.
runs() {
  # A pattern where no pid is given.
  # shellcheck disable=SC2086
  { cat /proc/${2:-[0-9]*}/status 2>/dev/null || true; } | awk -v name="$1" '
    $1 == "Name:" { found = ($2 == name) }
    $1 == "State:" && found && $2 !~ /[ZX]/ { alive = 1 }
    END { exit !alive }'
}

wait_for_engine() {
  local deadline=$((SECONDS + START_TIMEOUT_S))
  until engine_answers; do
    if [ "$SECONDS" -ge "$deadline" ] || engine_gave_up; then
      print_engine_log >&2
      fail "dockerd did not come up; above are the last lines of its log"
    fi
    sleep 0.5
  done
}

engine_gave_up() {
  [ -n "$DOCKERD_PID" ] && ! kill -0 "$DOCKERD_PID" 2>/dev/null
}

print_engine_log() {
  if [ -d /run/systemd/system ]; then
    journalctl -u docker.service -n 30 --no-pager
  else
    tail -n 30 "$DOCKERD_LOG"
  fi
}

install_compose() {
  if root_on ubuntu; then
    install_missing docker-compose-v2
  else
    unpack_compose
  fi
  compose_is_new_enough || fail "\`docker compose\` still does not answer as 2.$COMPOSE_MINOR_MIN or newer"
}

# Debian 12 has no Compose v2. Debian 13's is a single program, so it is taken
# out of its package: no mixing of two releases on one machine.
unpack_compose() {
  local dir program
  dir=$(mktemp -d)
  say "fetching Compose v2 from Debian $DEBIAN_SUITE's package docker-compose"
  download_from_suite docker-compose "$dir"
  dpkg-deb -x "$dir"/docker-compose_*.deb "$dir/unpacked"
  program=$(find "$dir/unpacked" -type f -name docker-compose -path '*cli-plugins*' | head -n 1)
  [ -n "$program" ] || fail "Debian's docker-compose package holds no CLI plugin"
  say "installing it as $PLUGIN_DIR/docker-compose"
  install -D -m 755 "$program" "$PLUGIN_DIR/docker-compose"
  rm -rf "$dir"
}

main "$@"
