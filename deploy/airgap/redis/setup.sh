#!/bin/sh
# Runs inside the new image, after its packages are installed.
set -eu
install -d -o redis -g redis /data
