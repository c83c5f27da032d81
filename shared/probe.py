"""`python -m shared.probe [/livez]`: asks the service beside it how it is, for health checks.

It runs every few seconds beside each service, so it is quick to start: HTTP by hand over a plain
socket, since `http.client` alone takes twice as long to import as Python takes to start. It uses no
proxy, whatever the environment names for the world outside.
"""

import os
import socket
import sys

TIMEOUT_S = 3.0
EXIT_UNHEALTHY, EXIT_USAGE = 1, 2
LOOPBACKS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - asked, not listened on
"""Where a service that listens on all addresses is asked from beside it."""
# Our services answer HTTP/1.0, hence close the connection once all is said.
REQUEST = "GET {} HTTP/1.0\r\n\r\n"
HEALTHY = (b"HTTP/1.0 200 ", b"HTTP/1.1 200 ")


def main(path: str = "/healthz") -> int:
    """Ask at `METRICS_HOST` and `METRICS_PORT`; return 0 when healthy, 1 when not, 2 for usage."""
    host = os.environ.get("METRICS_HOST", "0.0.0.0")  # noqa: S104 - as the services' default
    host = LOOPBACKS.get(host, host)
    port = os.environ.get("METRICS_PORT", "")
    if not (port.isascii() and port.isdigit() and 0 < int(port[:6]) <= 65535):  # noqa: PLR2004
        sys.stderr.write("setting METRICS_PORT: must be the port of the service beside it\n")
        return EXIT_USAGE
    try:
        answer = _answer(host, int(port), path)
    except OSError as error:
        sys.stdout.write(f"{host} port {port}: {type(error).__name__}: {error}\n")
        return EXIT_UNHEALTHY
    head, _, body = answer.partition(b"\r\n\r\n")
    said = body or b"no answer of a service: " + head
    sys.stdout.write(f"{said.decode(errors='replace')}\n")
    return 0 if head.startswith(HEALTHY) else EXIT_UNHEALTHY


def _answer(host: str, port: int, path: str) -> bytes:
    with socket.create_connection((host, port), TIMEOUT_S) as connection:
        connection.sendall(REQUEST.format(path).encode())
        with connection.makefile("rb") as answer:
            return answer.read()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
