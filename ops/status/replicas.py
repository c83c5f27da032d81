"""What our own processes say of themselves: every replica's `/healthz`, found by its name."""

import json
import socket
import time
import urllib.error
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ops import direct_http
from ops.status.snapshot import ABSENT, CLOSED, SILENT, Service

TIMEOUT_S = 3.0
STARTS_WITHIN_S = 2.0
"""From a container's start to its port: what needs longer is ending at its start, or slow."""
PAUSE_S = 0.2
ASKED_AT_ONCE_MAX = 16

Place = tuple[str, str, int]
"""A service's name, one of the addresses that its name has, and its port."""


def ask(
    places: Sequence[tuple[str, int]],
    *,
    starts_within_s: float = STARTS_WITHIN_S,
    timeout_s: float = TIMEOUT_S,
) -> list[Service]:
    """Ask each replica behind each (name, port) how it is; who does not answer is said, too.

    One that does not listen is asked again for the time that it may need to start; one that does
    not answer is waited for so long.
    """
    found: list[Place | Service] = [one for name, port in places for one in _found(name, port)]
    with ThreadPoolExecutor(ASKED_AT_ONCE_MAX) as pool:
        asked = partial(_ask, time.monotonic() + starts_within_s, timeout_s)
        return list(pool.map(lambda one: one if isinstance(one, Service) else asked(one), found))


def _found(name: str, port: int) -> Iterator[Place | Service]:
    try:
        infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError:
        yield Service(name, f"{name}:{port}", {}, ABSENT)
        return
    for address in sorted({str(info[4][0]) for info in infos}):
        yield name, address, port


def _ask(until: float, timeout_s: float, place: Place) -> Service:
    while (said := _ask_once(*place, timeout_s)).error == CLOSED and time.monotonic() < until:
        time.sleep(PAUSE_S)
    return said


def _ask_once(name: str, address: str, port: int, timeout_s: float) -> Service:
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{port}/healthz"
    try:
        with direct_http.ask(url, timeout_s=timeout_s) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return Service(name, f"{host}:{port}", _problems(error.read()))
    except OSError as error:
        reason = getattr(error, "reason", error)
        return Service(name, f"{host}:{port}", {}, _in_words(reason))
    return Service(name, f"{host}:{port}", {})


def _in_words(reason: object) -> str:
    if isinstance(reason, ConnectionRefusedError):
        return CLOSED
    return SILENT if isinstance(reason, TimeoutError) else type(reason).__name__


def _problems(body: bytes) -> dict[str, str]:
    try:
        said: dict[str, Any] = json.loads(body)["problems"]
    except (ValueError, LookupError, TypeError):
        return {"healthz": "an answer that is not ours"}
    return {str(part): str(why) for part, why in said.items()}
