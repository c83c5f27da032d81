#!/bin/bash
# Called by Patroni once, on the first primary of a new cluster: makes the database POSTGRES_DB.
set -euo pipefail
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --set name="$POSTGRES_DB" --username "$POSTGRES_USER" \
  --dbname postgres <<<'CREATE DATABASE :"name"'
