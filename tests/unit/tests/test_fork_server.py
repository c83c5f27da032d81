"""What the fork server starts is the same as what a shell starts."""

import os
import signal
import subprocess
import sys

import pytest

from tests.support import fork_server
from tests.support.containers import ROOT
from tests.support.fork_server import Request

ENVIRONMENT = {"PATH": os.environ["PATH"], "COLUMNS": "70"}


@pytest.mark.parametrize("arguments", [["send", "--help"], ["no-such-command"]])
def test_a_program_says_and_returns_what_it_does_as_a_process_of_a_shell(
    arguments: list[str],
) -> None:
    by_shell = subprocess.run(
        [sys.executable, "-m", "ops", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        check=False,
    )

    code, stdout, stderr = fork_server.run(Request("ops", arguments, ENVIRONMENT), b"", 30)

    assert (code, stdout, stderr) == (by_shell.returncode, by_shell.stdout, by_shell.stderr)


def test_a_signal_ends_it_and_is_its_exit_code() -> None:
    reads, writes = os.pipe()  # standard input that nobody writes to: it waits
    process = fork_server.start(
        Request("code", [], ENVIRONMENT), stdin=reads, stdout=writes, stderr=writes
    )
    assert process.poll() is None
    with pytest.raises(TimeoutError):
        process.wait(0.01)

    process.send_signal(signal.SIGTERM)

    assert process.wait(60) == -signal.SIGTERM
    process.kill()
    os.close(reads)
    os.close(writes)
