"""What a stack tells whoever looks, without being let in: all of it is searched for secrets."""

import base64
import contextlib
import itertools
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping

from docker.errors import APIError, NotFound
from docker.models.containers import Container

METRICS_PORTS = {"9101/tcp", "9102/tcp", "9103/tcp", "9104/tcp", "9106/tcp", "9107/tcp"}
PAGES = ("metrics", "healthz")
PAGE_TIMEOUT_S = 5.0


def told(secrets: Mapping[str, str], containers: Iterable[Container]) -> set[str]:
    """Return which of `secrets`, by name, are shown where."""
    return {
        f"{name} in {where}"
        for one in containers
        for where, text in _of(one)
        for name in found_in(text, secrets)
    }


def found_in(text: str, secrets: Mapping[str, str]) -> set[str]:
    """Return the names of those that `text` shows, plain or as a header of HTTP holds them."""
    return {
        name for name, secret in secrets.items() if any(form in text for form in _forms(secret))
    }


def _forms(secret: str) -> Iterator[str]:
    yield secret
    for before in range(3):  # base64 looks different at each distance from a multiple of three
        encoded = base64.b64encode(b"x" * before + secret.encode()).decode()
        yield encoded[4 : 4 + len(secret)]


def _of(container: Container) -> Iterator[tuple[str, str]]:
    with contextlib.suppress(NotFound):  # it was one of a moment, and is gone
        name = str(container.name)
        yield f"the logs of {name}", container.logs().decode(errors="replace")
        yield f"the command of {name}", _command(container)
        yield f"the processes of {name}", _processes(container)
        for port, page in itertools.product(_metrics_ports(container), PAGES):
            yield f"/{page} of {name}", _page(port, page)


def _processes(container: Container) -> str:
    try:
        return json.dumps(container.top(ps_args="axww -o pid,args"))
    except APIError:  # it does not run
        return ""


def _metrics_ports(container: Container) -> list[int]:
    bindings = [one for port in METRICS_PORTS for one in container.ports.get(port) or ()]
    return [int(one["HostPort"]) for one in bindings]


def _command(container: Container) -> str:
    container.reload()
    config = container.attrs["Config"]
    shown = [container.attrs["Path"], container.attrs["Args"]]
    shown += [config.get(part) for part in ("Cmd", "Entrypoint", "Labels", "Healthcheck")]
    return json.dumps(shown)


def _page(port: int, page: str) -> str:
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/{page}", timeout=PAGE_TIMEOUT_S
        ) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.read().decode())
    except OSError:  # it is paused, or ends at this moment
        return ""
