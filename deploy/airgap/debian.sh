# shellcheck shell=bash
# What engine.sh and images.sh both need from Debian. Sourced, never run.
#
# The mirror is the one that this machine's own apt is configured to use, so
# that no file here names a host and a machine behind a mirror just works.

DEBIAN_SUITE=${DEBIAN_SUITE:-trixie}
DEBIAN_KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '%s: %s\n' "${0##*/}" "$*"; }

# Exit 3 is "a server cannot be reached", here: an engine or an image.
fail() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 3
}

# Prints debian, ubuntu, macos or whatever else this is.
distribution() {
  if [ "$(uname -s)" = Darwin ]; then
    echo macos
  elif [ -r /etc/os-release ]; then
    # shellcheck source=/dev/null
    (. /etc/os-release && echo "${ID:-unknown}")
  else
    uname -s
  fi
}

root_on() {
  local id wanted
  [ "$(id -u)" = 0 ] || return 1
  id=$(distribution)
  for wanted in "$@"; do
    [ "$id" = "$wanted" ] && return 0
  done
  return 1
}

# Asks on a terminal; goes on where nobody can answer.
confirm() {
  local answer
  if [ ! -t 0 ] || [ ! -t 1 ] || [ -n "${CI:-}" ]; then
    return 0
  fi
  read -r -p "${0##*/}: $1 [y/N] " answer
  case $answer in
    y | Y | yes) ;;
    *) fail "stopped, nothing was changed" ;;
  esac
}

is_installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# The package lists are fetched once per run, and only if something is missing.
APT_UPDATED=
apt_update() {
  if [ -z "$APT_UPDATED" ]; then
    say "fetching package lists (apt-get update)"
    apt-get update -qq
    APT_UPDATED=yes
  fi
}

install_missing() {
  local package missing=()
  for package in "$@"; do
    is_installed "$package" || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  apt_update
  say "installing ${missing[*]} (apt-get install)"
  quietly apt-get install -y -qq --no-install-recommends \
    -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "${missing[@]}"
}

# Runs a command of Debian's whose output matters only when it fails.
quietly() {
  local output status=0
  output=$(DEBIAN_FRONTEND=noninteractive "$@" 2>&1 9>&-) || status=$?
  [ "$status" = 0 ] || printf '%s\n' "$output" >&2
  return "$status"
}

# URIs that this machine's apt uses for archives labelled $1.
debian_mirrors() {
  # The parentheses are apt's own placeholders.
  # shellcheck disable=SC2016
  apt-get indextargets --format '$(LABEL)|$(REPO_URI)' 'Origin: Debian' \
    'Created-By: Packages' | awk -F '|' -v label="$1" '$1 == label && !seen[$2]++ { print $2 }'
}

# sources.list lines for the suite that stand-ins are made of.
suite_sources() {
  local uri main
  main=$(debian_mirrors Debian | head -n 1)
  if [ -z "$main" ]; then
    apt_update >&2
    main=$(debian_mirrors Debian | head -n 1)
  fi
  [ -n "$main" ] || fail "apt on this machine is configured with no Debian archive"
  echo "deb $main $DEBIAN_SUITE main"
  for uri in $(debian_mirrors Debian-Security | head -n 1); do
    echo "deb $uri $DEBIAN_SUITE-security main"
  done
}

# Old keyrings lack the suite's key; the distribution's update of them has it.
fresh_keyring() {
  say "updating Debian's archive keyring"
  apt_update
  quietly apt-get install -y -qq --only-upgrade debian-archive-keyring
}

# Downloads package $1 of the suite into folder $2, with apt state of its own:
# nothing of the suite becomes visible to this machine's apt.
download_from_suite() {
  local package=$1 dir=$2
  mkdir -p "$dir/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/status"
  suite_sources | sed "s|^deb |deb [signed-by=$DEBIAN_KEYRING] |" >"$dir/sources.list"
  cat >"$dir/apt.conf" <<CONF
Dir::Etc::SourceList "$dir/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "$dir/lists";
Dir::State::Status "$dir/status";
Dir::Cache "$dir/cache";
Acquire::Languages "none";
APT::Sandbox::User "root";
CONF
  if ! apt-get -c "$dir/apt.conf" update -qq --error-on=any 2>/dev/null; then
    fresh_keyring
    apt-get -c "$dir/apt.conf" update -qq --error-on=any
  fi
  (cd "$dir" && apt-get -c "$dir/apt.conf" download -qq "$package" >/dev/null)
}
