#!/bin/sh
# Runs inside the new image, after its packages are installed. Each program gets the place that it
# has in its own image; compose.yaml says which of them a container runs.
set -eu
ln -s prometheus-alertmanager /usr/bin/alertmanager
ln -s prometheus-postgres-exporter /usr/bin/postgres_exporter
ln -s /usr/bin/prometheus-redis-exporter /redis_exporter
install -d -o 65534 -g 65534 /prometheus /alertmanager
