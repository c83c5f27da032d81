"""The stack of compose.yaml as `docker compose` knows it: settings, containers, starting.

The project is the default one and the files of settings are those that the Makefile names, so that
`make logs` and `make down` speak of the same stack.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from demo.failure import EXIT_SETTINGS, EXIT_UNREACHABLE, DemoFailed

ROOT = Path(__file__).parents[1]
ENV_FILES = (".env", ".airgap.env")
ANSWER_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
TAIL_BYTES = 4096
LOOKS_MAX = 3


@dataclass(frozen=True)
class Container:
    """One container; `ports` leads from its own ports to those of 127.0.0.1."""

    name: str
    service: str
    state: str
    exit_code: int
    ports: dict[int, int]

    @property
    def failed(self) -> bool:
        """Whether it is what kept the stack from starting."""
        return self.state in ("unhealthy", "restarting", "dead") or (
            self.state == "exited" and self.exit_code != 0
        )

    @property
    def unready(self) -> bool:
        """Whether others may be waiting for it: at work, but not healthy or done."""
        return self.state in ("starting", "running")


@dataclass(frozen=True)
class Configuration:
    """compose.yaml with all its settings filled in."""

    project: str
    services: dict[str, Any]

    def setting(self, service: str, name: str) -> str:
        """Return what `service` is given as environment variable `name`."""
        # compose answers in its own notation, in which a dollar is written twice.
        return str(self.services[service]["environment"][name]).replace("$$", "$")

    def published(self) -> Iterator[tuple[str, int, str]]:
        """Yield service, its own port, and what it is to be on 127.0.0.1: a number or a range."""
        for service, parts in self.services.items():
            for port in parts.get("ports", ()):
                yield service, int(port["target"]), str(port.get("published", "0"))


class Starting:
    """`docker compose up` at work; what it says is kept, not shown."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        """`said` is the file that the process writes to."""
        self._process = process
        self._said = said

    def exit_code(self) -> int | None:
        """Return compose's exit code, or None while it works."""
        return self._process.poll()

    def output(self) -> str:
        """Return all it said."""
        return self._read(0)

    def last_line(self) -> str:
        """Return the newest thing it said, or nothing."""
        lines = self._read(max(0, self._size() - TAIL_BYTES)).split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def _size(self) -> int:
        return Path(self._said.name).stat().st_size

    def _read(self, start: int) -> str:
        with Path(self._said.name).open("rb") as said:
            said.seek(start)
            return said.read().decode(errors="replace")


def configuration() -> Configuration:
    """Return the settings in force. Raises `DemoFailed` when compose finds fault with them."""
    answer = json.loads(_ask("config", "--format", "json", exit_code=EXIT_SETTINGS))
    return Configuration(answer["name"], answer["services"])


def containers() -> list[Container]:
    """Return the stack's containers, running or not."""
    for _ in range(LOOKS_MAX - 1):
        # One that is replaced between being listed and being looked at fails the whole list.
        try:
            return _listed()
        except DemoFailed as failure:
            if not failure.details:
                raise  # there is no docker, or it gives no answer
    return _listed()


def _listed() -> list[Container]:
    return [_container(found) for found in _objects(_ask("ps", "--all", "--format", "json"))]


def logs(service: str, *, lines: int) -> str:
    """Return the end of what the containers of `service` have said."""
    return _ask("logs", "--no-color", "--no-log-prefix", "--tail", str(lines), service)


@contextlib.contextmanager
def starting() -> Iterator[Starting]:
    """Run `docker compose up` while inside; leaving early ends it, not the stack."""
    with tempfile.NamedTemporaryFile(prefix="minutebook-demo-") as said:
        command = [*_compose(), "up", "--detach", "--build", "--wait"]
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )
        try:
            yield Starting(process, said)
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _compose() -> list[str]:
    # compose ignores .env once --env-file is given, so both are named.
    files = [f"--env-file={name}" for name in ENV_FILES if (ROOT / name).exists()]
    return ["docker", "compose", "--ansi=never", *files]


def _ask(*arguments: str, exit_code: int = EXIT_UNREACHABLE) -> str:
    command = [*_compose(), *arguments]
    try:
        answer = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=ANSWER_TIMEOUT_S
        )
    except FileNotFoundError:
        raise DemoFailed(
            "there is no docker here; see 'make engine'", exit_code=exit_code
        ) from None
    except subprocess.TimeoutExpired:
        reason = f"'docker compose {arguments[0]}' gave no answer in {ANSWER_TIMEOUT_S:g} s"
        raise DemoFailed(reason, exit_code=EXIT_UNREACHABLE) from None
    except subprocess.CalledProcessError as error:
        reason = f"'docker compose {arguments[0]}' failed"
        raise DemoFailed(reason, exit_code=exit_code, details=error.stderr.splitlines()) from None
    return answer.stdout


def _objects(text: str) -> list[dict[str, Any]]:
    # One array up to compose 2.20, one object a line since.
    if text.startswith("["):
        return list(json.loads(text))
    return [json.loads(line) for line in text.splitlines()]


def _container(found: dict[str, Any]) -> Container:
    published = found.get("Publishers") or ()
    return Container(
        name=found["Name"],
        service=found["Service"],
        state=found.get("Health") or found["State"],
        exit_code=found.get("ExitCode", 0),
        ports={
            one["TargetPort"]: one["PublishedPort"] for one in published if one["PublishedPort"]
        },
    )
