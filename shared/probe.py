"""`python -m shared.probe`: asks the service beside it how it is, for health checks.

It runs every few seconds beside each service, so it is quick to start: only what Python itself
brings, and no proxy, whatever the environment names for the world outside.
"""

import http.client
import os
import sys

TIMEOUT_S = 3.0
EXIT_UNHEALTHY, EXIT_USAGE = 1, 2
LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on
"""Where a service that listens on all addresses is asked from beside it."""


def main() -> int:
    """Ask at `METRICS_HOST` and `METRICS_PORT`; return 0 when healthy, 1 when not, 2 for usage."""
    host = os.environ.get("METRICS_HOST", "0.0.0.0")  # noqa: S104 - as the services' default
    host = LOOPBACKS.get(host, host)
    port = os.environ.get("METRICS_PORT", "")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535):  # noqa: PLR2004
        sys.stderr.write("setting METRICS_PORT: must be the port of the service beside it\n")
        return EXIT_USAGE
    connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        sys.stdout.write(f"{answer.read().decode()}\n")
    except (OSError, http.client.HTTPException) as error:
        sys.stdout.write(f"{host} port {port}: {type(error).__name__}: {error}\n")
        return EXIT_UNHEALTHY
    finally:
        connection.close()
    return 0 if answer.status == http.HTTPStatus.OK else EXIT_UNHEALTHY


if __name__ == "__main__":
    sys.exit(main())
