"""The operator's tool as an operator runs it: a process with the settings of the services."""

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.support import fork_server, schemas
from tests.support.containers import ROOT

TIMEOUT_S = 60.0
NOWHERE = "127.0.0.1:9"
"""A port on which nobody listens."""
ON_TERMINAL = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))"


@dataclass(frozen=True)
class Done:
    """What a command said and how it ended."""

    code: int
    stdout: str
    stderr: str
    arguments: tuple[str, ...] = ()

    @property
    def document(self) -> Any:
        """The JSON document on standard output, which is as docs/schemas/ says."""
        found = json.loads(self.stdout)
        if "--json" in self.arguments:
            schemas.check(self.arguments, found)
        return found


@dataclass(frozen=True)
class Tool:
    """`python -m ops` against one deployment."""

    settings: dict[str, str]

    def __call__(self, *arguments: str, stdin: str = "", **settings: str) -> Done:
        """Run a command to its end; `settings` take the place of the deployment's."""
        request = fork_server.Request("ops", [*arguments], self.environment(**settings))
        code, stdout, stderr = fork_server.run(request, stdin.encode(), TIMEOUT_S)
        return Done(code, stdout.decode(), stderr.decode(), arguments)

    def shell(self, script: str, **settings: str) -> Done:
        """Run a script of bash in which `ops` is the tool; its code is that of its last `ops`."""
        ops = shlex.join(self.command())
        done = subprocess.run(
            ["bash", "-c", f'ops() {{ {ops} "$@"; }}; {script}; exit ${{PIPESTATUS[0]}}'],
            cwd=ROOT,
            env=self.environment(**settings),
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        return Done(done.returncode, done.stdout.decode("latin-1"), done.stderr.decode("latin-1"))

    def on_terminal(self, *arguments: str, columns: int) -> str:
        """Run a command on a terminal that is so wide; returns what it shows."""
        done = subprocess.run(
            [sys.executable, "-c", ON_TERMINAL, *self.command(*arguments)],
            cwd=ROOT,
            env=self.environment(COLUMNS=str(columns), TERM="xterm"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=True,
        )
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", done.stdout.decode()).replace("\r\n", "\n")

    @contextlib.contextmanager
    def started(self, *arguments: str, **settings: str) -> Iterator["subprocess.Popen[bytes]"]:
        """Begin a command that goes on until it is stopped; it is gone afterwards."""
        with subprocess.Popen(
            self.command(*arguments),
            cwd=ROOT,
            env=self.environment(**settings),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def json(self, *arguments: str, code: int = 0, **settings: str) -> Any:
        """Run a command with `--json`; fails unless it ends with `code`. Returns its document."""
        done = self(*arguments, "--json", **settings)
        assert done.code == code, done
        return done.document

    def command(self, *arguments: str) -> list[str]:
        """Return the command line."""
        return [sys.executable, "-m", "ops", *arguments]

    def environment(self, **settings: str) -> dict[str, str]:
        """Return the environment of a command: nothing of ours but the settings."""
        return {"PATH": os.environ["PATH"], "LOG_FORMAT": "json", **self.settings, **settings}


def deployment(dsn: str = "", amqp_url: str = "", keydb_url: str = "") -> Tool:
    """Return the tool for these servers; one that is not given is down."""
    return Tool(
        {
            "POSTGRES_DSN": dsn or f"postgresql://user:password@{NOWHERE}/minutebook",
            "RABBITMQ_URL": amqp_url or f"amqp://user:password@{NOWHERE}/%2F",
            "KEYDB_URL": keydb_url or f"redis://{NOWHERE}/0",
            "TICK_INTERVAL_SECONDS": "60",
            "OPS_OPERATOR": "night shift",
        }
    )
