"""How a program is stopped."""

import subprocess
import sys

INTERRUPTED_IN_WAIT = """
import signal
from shared.program import stop_on_signals
stop = stop_on_signals()
with stop._cond:  # as inside of stop.wait() and stop.set()
    signal.raise_signal(signal.SIGTERM)
print(stop.wait(20))
"""


def test_a_signal_that_comes_while_the_event_is_locked_stops_the_program() -> None:
    told = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IN_WAIT],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert told.stdout == "True\n"
