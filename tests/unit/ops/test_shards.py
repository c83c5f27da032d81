"""A command for each shard in turn: how it ends, and that it can be stopped."""

import signal
import subprocess
import sys

import pytest

from ops import shards
from ops.shards import Command, run_each
from tests.support.containers import ROOT

ENDS_BY = "import os, sys; code = {}; code < 0 and os.kill(os.getpid(), -code); sys.exit(code)"
TWO = """
import sys
from ops.shards import Command, run_each

FIRST = "print('first', flush=True); import time; time.sleep(60)"
commands = {
    "0/2": Command([sys.executable, "-c", FIRST], {}),
    "1/2": Command([sys.executable, "-c", "print('second')"], {}),
}
sys.exit(run_each(commands))
"""


def code_of(*codes: int, one_is_enough: bool = False) -> int:
    """Return how it ends where each shard's command ends so, below 0 by a signal."""
    commands = {
        f"{number}/{len(codes)}": Command([sys.executable, "-c", ENDS_BY.format(code)], {})
        for number, code in enumerate(codes)
    }
    return run_each(commands, one_is_enough=one_is_enough)


@pytest.mark.parametrize(
    ("codes", "worst"), [((0, 0), 0), ((1, 0), 1), ((1, 3), 3), ((-9, 0), 137), ((3, -15), 143)]
)
def test_the_worst_code_is_that_of_all_and_a_killed_one_is_no_success(
    codes: tuple[int, ...], worst: int, capfd: pytest.CaptureFixture[str]
) -> None:
    assert code_of(*codes) == worst
    assert ("nothing wrong in any" in capfd.readouterr().err) == (worst == 0)


@pytest.mark.parametrize(("codes", "code"), [((1, 0), 0), ((1, 1), 1), ((1, 3), 3), ((-9, 0), 0)])
def test_where_one_shard_is_enough_one_that_was_not_asked_outweighs_those_that_have_nothing(
    codes: tuple[int, ...], code: int
) -> None:
    assert code_of(*codes, one_is_enough=True) == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_what_runs_and_nothing_is_begun_after_it(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", TWO],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as both:
        assert both.stdout is not None
        assert both.stdout.readline() == "first\n"
        both.send_signal(number)
        shown, said = both.communicate(timeout=30)

    assert (both.returncode, shown) == (130, "")
    assert said.rstrip().endswith("interrupted before 1/2")


@pytest.mark.parametrize(
    ("given", "called"),
    [
        ({}, "ops"),
        ({"SHARD": "1/2"}, "ops"),
        ({"SHARD": "1/2", "SHARD_DSNS": "postgresql://a/b"}, "ops --shard 1"),
        ({"SHARD": "1/2", "SHARD_DSNS": "", shards.EACH: "yes"}, "ops --shard 1"),
    ],
)
def test_a_command_to_type_next_names_the_shard_where_there_is_a_list_of_them(
    given: dict[str, str], called: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SHARD", "SHARD_DSNS", "SECRETS_DIR", shards.EACH):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)

    assert shards.tool() == called
