#!/usr/bin/env bash
# Builds one stand-in image from Debian packages: build.sh NAME IMAGE
#
# NAME is a folder beside this file: `packages` to install, `rootfs` to lay
# over them, `setup.sh` to run inside, `changes` as `docker import` takes them.
# Does nothing, silently, where IMAGE was already built from the same recipe.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=deploy/airgap/debian.sh
. "$here/debian.sh"
# shellcheck source=deploy/airgap/host_pip.sh
. "$here/host_pip.sh"

LABEL=org.minutebook.recipe
EXCLUDED=(
  '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' '/usr/share/doc/*'
  '/usr/share/lintian/*' '/usr/share/bug/*' '/usr/share/gcc/*'
)

main() {
  if [ $# != 2 ] || [ ! -f "$here/$1/packages" ]; then
    echo "usage: build.sh NAME IMAGE (NAME: a folder beside build.sh)" >&2
    exit 2
  fi
  local name=$1 image=$2 recipe
  recipe=$(recipe_hash "$name")
  if [ "$(docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$image" 2>/dev/null)" = "$recipe" ]; then
    return 0
  fi
  say "building $image from Debian $DEBIAN_SUITE: $(paste -s -d ' ' "$here/$name/packages")"
  build "$name" "$image" "$recipe"
  say "built $image in $SECONDS s"
}

# Everything that decides what comes out, apart from the archive's own state.
recipe_hash() {
  {
    echo "$DEBIAN_SUITE"
    find "$here/$1" "$here/build.sh" -type f | LC_ALL=C sort | while read -r file; do
      echo "${file#"$here/"}"
      cat "$file"
    done
    if [ "$1" = python ]; then
      host_pip_conf
      cat "$(host_ca_bundle)"
    fi
  } | sha256sum | cut -d ' ' -f 1
}

build() {
  local name=$1 image=$2 recipe=$3 dir
  dir=$(mktemp -d)
  # The path is known now, and gone by the time the trap runs.
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  make_overlay "$name" "$dir/rootfs"
  suite_sources >"$dir/sources"
  if ! debootstrap_tar "$name" "$dir" 2>"$dir/log"; then
    if grep -q -e NO_PUBKEY -e 'not signed' "$dir/log"; then
      fresh_keyring
      debootstrap_tar "$name" "$dir" 2>"$dir/log" || { tail -n 40 "$dir/log" >&2 && return 1; }
    else
      tail -n 40 "$dir/log" >&2
      return 1
    fi
  fi
  import "$name" "$image" "$recipe" <"$dir/image.tar"
}

# What is laid over the packages; for python, also this machine's pip settings.
make_overlay() {
  local name=$1 rootfs=$2
  mkdir -p "$rootfs/usr/local/bin" "$rootfs/etc"
  [ ! -d "$here/$name/rootfs" ] || cp -r "$here/$name/rootfs/." "$rootfs"
  cp "$here/$name/setup.sh" "$rootfs/setup.sh"
  if [ "$name" = python ]; then
    host_pip_conf >"$rootfs/etc/pip.conf"
    cp "$(host_ca_bundle)" "$rootfs/host-ca.crt"
  fi
  find "$rootfs" -type d -exec chmod 755 {} +
  find "$rootfs" -type f -exec chmod 644 {} +
  chmod 755 "$rootfs"/usr/local/bin/* "$rootfs/setup.sh" 2>/dev/null || true
}

# Only essential packages and what was asked for: no apt, no init.
debootstrap_tar() {
  local name=$1 dir=$2 path options=()
  for path in "${EXCLUDED[@]}"; do
    options+=(--dpkgopt="path-exclude=$path")
  done
  apt-config dump | grep -E '^Acquire::(http|https|ftp|Retries|Check-Valid-Until)' >"$dir/apt.conf" || true
  # The hooks' $1 is the new root; $OVERLAY is ours.
  # shellcheck disable=SC2016
  OVERLAY=$dir/rootfs mmdebstrap --mode=root --variant=essential --format=tar \
    --keyring="$DEBIAN_KEYRING" --aptopt="$dir/apt.conf" \
    --include="$(paste -s -d , "$here/$name/packages")" \
    "${options[@]}" --dpkgopt='path-include=/usr/share/doc/*/copyright' --dpkgopt=force-confold \
    --essential-hook='cp -r --preserve=mode "$OVERLAY/." "$1"' \
    --customize-hook='chroot "$1" /setup.sh && rm "$1/setup.sh"' \
    --customize-hook='[ ! -e "$1/host-ca.crt" ] || mv "$1/host-ca.crt" "$1/etc/ssl/certs/ca-certificates.crt"' \
    --customize-hook='rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/var/cache/debconf/* "$1"/var/log/*' \
    "$DEBIAN_SUITE" "$dir/image.tar" - <"$dir/sources"
}

import() {
  local name=$1 image=$2 recipe=$3 change previous options=()
  while read -r change; do
    options+=(--change "$change")
  done <"$here/$name/changes"
  previous=$(docker image inspect -f '{{.Id}}' "$image" 2>/dev/null || true)
  docker import "${options[@]}" --change "LABEL $LABEL=$recipe" - "$image" >/dev/null
  # Containers may still run on it; then it stays.
  [ -z "$previous" ] || docker image rm "$previous" >/dev/null 2>&1 || true
}

main "$@"
