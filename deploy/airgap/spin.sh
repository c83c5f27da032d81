#!/usr/bin/env bash
# Ensures that the model checker spin and a C compiler are there.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"

usage() {
  cat <<'TEXT'
usage: deploy/airgap/spin.sh [--help]

Ensures that `spin` (spinroot.com) and a C compiler are there.
Does nothing, silently, where both are. Otherwise, as root on Debian or Ubuntu:
installs the distribution's packages. Asks first on a terminal; goes on where
there is none, or where CI is set.

Exit status: 0 both are there, 2 usage, 3 they are not and cannot be had here.
TEXT
}

main() {
  case ${1:-} in
    "") ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  if have spin && have gcc; then
    exit 0
  fi
  root_on debian ubuntu ||
    fail "spin and gcc are needed; on Debian and Ubuntu: apt-get install spin gcc libc6-dev;" \
      "on macOS: brew install spin"
  confirm "spin or gcc is missing; install them?"
  install_missing spin gcc libc6-dev
}

have() {
  command -v "$1" >/dev/null 2>&1
}

main "$@"
