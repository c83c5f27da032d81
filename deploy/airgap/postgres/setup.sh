#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
install -d -m 700 -o postgres -g postgres /var/lib/postgresql/data
install -d -m 3775 -o postgres -g postgres /var/run/postgresql
# The suite decides the version; PATH needs a name that stays.
ln -s /usr/lib/postgresql/[0-9]* /usr/lib/postgresql/current
# Without its JIT provider the server plans without JIT, and LLVM is most of the
# image's size. Manual pages are the package's one exception to path-exclude.
rm -rf /usr/lib/postgresql/current/lib/llvmjit* /usr/lib/postgresql/current/lib/bitcode \
  /usr/lib/*/libLLVM* /usr/lib/llvm-* /usr/lib/*/libz3.so* \
  /usr/share/postgresql/*/man /etc/ssl/private/ssl-cert-snakeoil.key
