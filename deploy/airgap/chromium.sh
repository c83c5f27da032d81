#!/usr/bin/env bash
# Ensures a Chromium for the tests of the console's pages, and prints its path.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"

usage() {
  cat <<'TEXT'
usage: deploy/airgap/chromium.sh [--help]

Prints the path of a Chromium or Chrome that runs here: the one on the PATH, or
else, on Debian as root, that of Debian's package chromium, which it installs.

Exit status: 0 it is there, 2 usage, 3 it cannot be had here.
TEXT
}

main() {
  case ${1:-} in
    "") ;;
    -h | --help) usage && exit 0 ;;
    *) usage >&2 && exit 2 ;;
  esac
  if ! found; then
    ! root_on debian || install_missing chromium fonts-dejavu-core >&2 || true
    found || fail "no Chromium: install chromium or google-chrome"
  fi
}

found() {
  local name
  for name in chromium google-chrome google-chrome-stable chromium-browser; do
    if command -v "$name" >/dev/null && "$name" --version >/dev/null 2>&1; then
      command -v "$name"
      return 0
    fi
  done
  return 1
}

main "$@"
