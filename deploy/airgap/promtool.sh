#!/usr/bin/env bash
# Ensures promtool, Prometheus's checker of rules, and prints its path.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"

ROOT=$(cd "$here/../.." && pwd)
TARGET=$ROOT/build/prometheus
PULL_TIMEOUT_S=120

usage() {
  cat <<'TEXT'
usage: deploy/airgap/promtool.sh [--help]

Prints the path of a promtool that runs here: the one on the PATH; or one in
build/prometheus, which is a call of the image that compose.yaml names
(PROMETHEUS_IMAGE), if that is here or can be pulled, or else, on Debian as
root, the program out of Debian's package, which is not installed.

Exit status: 0 it is there, 2 usage, 3 it cannot be had here.
TEXT
}

main() {
  case ${1:-} in
    "") ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  if command -v promtool; then
    return 0
  fi
  if ! works; then
    mkdir -p "$TARGET"
    ! root_on debian || from_debian >&2 || true
    works || from_image >&2
    works || fail "no promtool: connect to an image registry, or install Prometheus"
  fi
  echo "$TARGET/promtool"
}

works() { "$TARGET/promtool" --version >/dev/null 2>&1; }

# The programs are static: no matter what else of the package is missing. Made
# aside and moved, so that two runs at once do not see half of it.
from_debian() {
  local dir
  dir=$(mktemp -d "$TARGET/debian.XXXXXX")
  say "taking promtool from Debian's package prometheus"
  # _apt may not write here; the sandbox is given up, and apt says nothing of it.
  if ! (cd "$dir" && apt-get -o APT::Sandbox::User=root download -qq prometheus) 2>/dev/null; then
    apt_update
    (cd "$dir" && quietly apt-get -o APT::Sandbox::User=root download -qq prometheus)
  fi
  dpkg-deb --extract "$dir"/prometheus_*.deb "$dir/unpacked"
  mv "$dir/unpacked/usr/bin/prometheus" "$dir/unpacked/usr/bin/promtool" "$TARGET"
  rm -rf "$dir"
}

from_image() {
  local image
  # The dollar is compose.yaml's own.
  # shellcheck disable=SC2016
  image=${PROMETHEUS_IMAGE:-$(sed -n 's/.*${PROMETHEUS_IMAGE:-\([^}]*\)}.*/\1/p' "$ROOT/compose.yaml")}
  if ! docker image inspect "$image" >/dev/null 2>&1; then
    say "pulling $image for its promtool"
    within "$PULL_TIMEOUT_S" docker pull -q "$image" >/dev/null || return 0
  fi
  cat >"$TARGET/promtool.new" <<SCRIPT
#!/bin/sh
exec docker run --rm --network none --volume "\$PWD:\$PWD:ro" --workdir "\$PWD" \\
  --entrypoint promtool $image "\$@"
SCRIPT
  chmod 755 "$TARGET/promtool.new"
  mv "$TARGET/promtool.new" "$TARGET/promtool"
}

# macOS has no timeout(1).
within() {
  if command -v timeout >/dev/null; then
    timeout "$@"
  else
    shift && "$@"
  fi
}

main "$@"
