#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
ln -s /usr/bin/python3 /usr/local/bin/python
ln -s /usr/bin/python3 /usr/local/bin/python3
# In the official image pip installs without a venv; so it does here.
rm -f /usr/lib/python3*/EXTERNALLY-MANAGED
