# shellcheck shell=bash
# This machine's pip settings and certificates, for the Python stand-in: an
# image build can then reach whatever package index this machine reaches, and
# the Dockerfile knows of none. Sourced, never run.

# A pip.conf for inside the image: settings that are paths of this machine
# (file:// indexes, find-links, certificates) are left out.
host_pip_conf() {
  local key value extra
  echo "[global]"
  for key in index-url timeout retries proxy trusted-host; do
    value=$(host_pip_setting "$key")
    [ -n "$value" ] || [ "$key" != timeout ] || value=$(host_pip_setting default-timeout)
    case $value in
      "" | file:*) ;;
      *) echo "$key = $value" ;;
    esac
  done
  extra=$(host_pip_setting extra-index-url | tr ' ' '\n' | grep -E '^https?://' | tr '\n' ' ' || true)
  [ -z "$extra" ] || echo "extra-index-url = ${extra% }"
}

# The environment beats pip's files, as it does for pip.
host_pip_setting() {
  local name
  name=PIP_$(echo "$1" | tr 'a-z-' 'A-Z_')
  if [ -n "${!name:-}" ]; then
    echo "${!name}"
    return
  fi
  host_pip_list | sed -n "s/^\(global\|install\)\.$1='\(.*\)'\$/\2/p" | sed 's/\\n/ /g' | tail -n 1
}

HOST_PIP_LIST=
host_pip_list() {
  [ -n "$HOST_PIP_LIST" ] || HOST_PIP_LIST=$(python3 -m pip config list 2>/dev/null || pip config list 2>/dev/null || true)
  echo "$HOST_PIP_LIST"
}

# The certificates that this machine's pip trusts, as one file.
host_ca_bundle() {
  local file
  for file in "${PIP_CERT:-}" "$(host_pip_setting cert)" "${REQUESTS_CA_BUNDLE:-}" \
    "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt; do
    if [ -n "$file" ] && [ -r "$file" ]; then
      echo "$file"
      return
    fi
  done
}
