#!/usr/bin/env bash
# Ensures the four base images, for the tests five more, for the clusters of deploy/ha one more:
# the real ones, or stand-ins made from Debian packages, which it then names in .airgap.env.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"

ROOT=$(cd "$here/../.." && pwd)
RESULT=$ROOT/.airgap.env
LOCK=/var/lock/minutebook-images.lock
REGISTRY_TIMEOUT_S=20
STANDIN=minutebook-standin
SERVERS="POSTGRES RABBITMQ KEYDB PYTHON"
FOR_TESTS="REDIS PROMETHEUS ALERTMANAGER POSTGRES_EXPORTER REDIS_EXPORTER"
FOR_HA="PATRONI_BASE"

usage() {
  cat <<'TEXT'
usage: deploy/airgap/images.sh [--tests] [--ha] [--help]

For each of POSTGRES_IMAGE, RABBITMQ_IMAGE, KEYDB_IMAGE and PYTHON_IMAGE: takes
the image that the environment or .env names, or compose.yaml's default if it
is here or can be pulled. Otherwise builds a stand-in from Debian packages (as
root on Debian) and names it in .airgap.env. Hand that file to compose:

    docker compose --env-file .airgap.env up --build

and, since --env-file replaces .env, name .env too where there is one, first.

--tests  also REDIS_IMAGE: the tests hold what KeyDB is asked for against a
         second server of its family; and PROMETHEUS_IMAGE, ALERTMANAGER_IMAGE,
         POSTGRES_EXPORTER_IMAGE and REDIS_EXPORTER_IMAGE of the profile `observe`
         (one stand-in serves all four)
--ha     also PATRONI_BASE_IMAGE, what deploy/ha builds its Postgres and etcd on

Exit status: 0 all are there, 2 usage, 3 one is not and cannot be had here.
TEXT
}

main() {
  local option
  for option in "$@"; do
    case $option in
      --tests) SERVERS="$SERVERS $FOR_TESTS" ;;
      --ha) SERVERS="$SERVERS $FOR_HA" ;;
      -h | --help) usage && exit 0 ;;
      *) usage >&2 && exit 2 ;;
    esac
  done
  docker version >/dev/null 2>&1 || fail "no Docker engine answers; run deploy/airgap/engine.sh first"
  # Named by an earlier run for what may still go on: it stays named.
  case $SERVERS in
    *"$FOR_TESTS"*) ;;
    *) ! have "$(standin_of REDIS)" || SERVERS="$SERVERS $FOR_TESTS" ;;
  esac
  case $SERVERS in
    *"$FOR_HA"*) ;;
    *) ! have "$(standin_of PATRONI_BASE)" || SERVERS="$SERVERS $FOR_HA" ;;
  esac
  local server missing=()
  for server in $SERVERS; do
    have_real_image "$server" || missing+=("$server")
  done
  if [ ${#missing[@]} -gt 0 ]; then
    refuse_where_we_cannot_build "${missing[@]}"
    build_standins "${missing[@]}"
  fi
  write_result "${missing[@]+"${missing[@]}"}"
}

have_real_image() {
  local image
  image=$(image_asked_for "$1")
  if [ -n "$image" ]; then
    have "$image" || pull "$image" || fail "$1_IMAGE is set to $image, which is neither here nor can be pulled"
  else
    image=$(image_by_default "$1")
    have "$image" || pull "$image"
  fi
}

# What the environment or .env names. A stand-in's name is our own answer of an
# earlier run, handed back: not a wish.
image_asked_for() {
  local variable=$1_IMAGE image
  image=${!variable:-}
  if [ -z "$image" ] && [ -f "$ROOT/.env" ]; then
    image=$(sed -n "s/^ *\(export  *\)\{0,1\}$variable=[\"']\{0,1\}\([^\"' #]*\).*/\2/p" "$ROOT/.env" | tail -n 1)
  fi
  case $image in
    "$STANDIN"/*) ;;
    *) echo "$image" ;;
  esac
}

# The compose files are the places that know the defaults; of what only the tests
# use, their own list of images is.
image_by_default() {
  if [ "$1" = REDIS ]; then
    sed -n 's/.*"REDIS_IMAGE": "\([^"]*\)".*/\1/p' "$ROOT/tests/support/containers.py"
  else
    sed -n "s/.*\${$1_IMAGE:-\([^}]*\)}.*/\1/p" "$ROOT/compose.yaml" "$ROOT/deploy/ha/compose.yaml" |
      head -n 1
  fi
}

have() { docker image inspect "$1" >/dev/null 2>&1; }

# One unanswered question is enough: the next one would only wait as long.
REGISTRY_IS_OUT_OF_REACH=
pull() {
  [ -z "$REGISTRY_IS_OUT_OF_REACH" ] || return 1
  if ! within "$REGISTRY_TIMEOUT_S" docker manifest inspect "$1" >/dev/null 2>&1; then
    say "$1 is not here, and no registry answers for it"
    REGISTRY_IS_OUT_OF_REACH=yes
    return 1
  fi
  say "pulling $1"
  docker pull -q "$1" >/dev/null
}

# macOS has no timeout(1).
within() {
  if command -v timeout >/dev/null; then
    timeout "$@"
  else
    shift && "$@"
  fi
}

refuse_where_we_cannot_build() {
  root_on debian && return 0
  local server names=""
  for server in "$@"; do
    names="$names $(image_by_default "$server")"
  done
  fail "cannot pull$names; connect to a registry, docker load them, or name others in ${*/%/_IMAGE} (stand-ins are built only as root on Debian)"
}

standin_of() {
  case $1 in
    POSTGRES) echo "$STANDIN/postgres:17" ;;
    RABBITMQ) echo "$STANDIN/rabbitmq:4.0" ;;
    KEYDB) echo "$STANDIN/keydb:valkey-8.1" ;;
    PYTHON) echo "$STANDIN/python:3.13" ;;
    REDIS) echo "$STANDIN/redis:8.0" ;;
    PATRONI_BASE) echo "$STANDIN/patroni:17" ;;
    *) echo "$STANDIN/observe:debian-13" ;;
  esac
}

# Two at a time: they wait for the archive as much as for the processor.
build_standins() {
  exec 9>"$LOCK"
  flock 9
  install_missing mmdebstrap
  local image name running=() server images
  images=$(for server in "$@"; do standin_of "$server"; done | sort -u)
  # Names have no blanks.
  # shellcheck disable=SC2086
  set -- $images
  while [ $# -gt 0 ]; do
    image=$1
    name=${image#"$STANDIN/"}
    "$here/build.sh" "${name%%:*}" "$image" 9>&- &
    running+=("$!")
    shift
    if [ ${#running[@]} = 2 ] || [ $# = 0 ]; then
      await "${running[@]}"
      running=()
    fi
  done
}

await() {
  local pid failed=
  for pid in "$@"; do
    wait "$pid" || failed=yes
  done
  [ -z "$failed" ] || fail "a stand-in could not be built"
}

write_result() {
  local server new
  new=$(
    echo "# Written by deploy/airgap/images.sh: images for compose on this machine."
    for server in "$@"; do
      echo "${server}_IMAGE=$(standin_of "$server")"
    done
    case " $* " in
      *" PYTHON "*) echo "BUILD_NETWORK=host" ;;
    esac
  )
  if [ "$(cat "$RESULT" 2>/dev/null)" != "$new" ]; then
    printf '%s\n' "$new" >"$RESULT.new"
    mv "$RESULT.new" "$RESULT"
    say "wrote ${RESULT##*/}"
  fi
  warn_of_standins "$@"
}

warn_of_standins() {
  [ $# -gt 0 ] || return 0
  say "no registry: $* run on stand-ins made from Debian 13 packages"
  local both=.airgap.env
  [ ! -f "$ROOT/.env" ] || both=.env,.airgap.env
  say "for docker compose by hand: export COMPOSE_ENV_FILES=$both"
  case " $* " in
    *" KEYDB "*) say "KeyDB is a stand-in here: it is Valkey 8.1 from Debian 13, not KeyDB" ;;
  esac
}

main "$@"
