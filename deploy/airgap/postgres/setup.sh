#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
install -d -m 700 -o postgres -g postgres /var/lib/postgresql/data
install -d -m 3775 -o postgres -g postgres /var/run/postgresql
# Without its JIT provider the server plans without JIT, and LLVM is most of the
# image's size. Manual pages are the package's one exception to path-exclude.
rm -rf /usr/lib/postgresql/17/lib/llvmjit* /usr/lib/postgresql/17/lib/bitcode \
  /usr/lib/*/libLLVM* /usr/lib/llvm-* /usr/lib/*/libz3.so* \
  /usr/share/postgresql/17/man /etc/ssl/private/ssl-cert-snakeoil.key
