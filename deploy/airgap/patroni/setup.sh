#!/bin/sh
# Runs inside the new image, after its packages are installed: as for the stand-in `postgres`.
set -eu
install -d -m 700 -o postgres -g postgres /var/lib/postgresql/data
ln -s /usr/lib/postgresql/[0-9]* /usr/lib/postgresql/current
rm -rf /usr/lib/postgresql/current/lib/llvmjit* /usr/lib/postgresql/current/lib/bitcode \
  /usr/lib/*/libLLVM* /usr/lib/llvm-* /usr/lib/*/libz3.so* /usr/share/postgresql/*/man
