"""What services have in common: settings, connections, retries, logs, health."""
