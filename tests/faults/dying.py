"""Dying at a named step, when told to: no farewell, nothing flushed, sockets closed by the kernel.

Runs inside our services, composed by `ingest.py`, `ticker.py` and `syncer.py` beside it. The order
is a file that holds the step's name. It goes with the process: /tmp is the container's own.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

STATUS = 86
"""The exit status of a process that died here, and of no other."""


@dataclass(frozen=True)
class Dying:
    """Where the order is looked for."""

    order: Path

    def at(self, step: str, in_hand: int = 1) -> None:
        """Die if that is the order and there is any work in hand; say so first."""
        if in_hand and self.ordered(step):
            try:
                self.order.unlink()
            except FileNotFoundError:
                return  # taken back at this very moment
            line = {"event": "killed_at", "step": step, "in_hand": in_hand}
            os.write(2, json.dumps(line).encode() + b"\n")
            os._exit(STATUS)

    def ordered(self, step: str) -> bool:
        """Say whether to die at `step`."""
        try:
            return self.order.read_text() == step
        except FileNotFoundError:
            return False


def by_settings() -> Dying:
    """Return what the environment says: `KILL_POINT_FILE`."""
    return Dying(Path(os.environ["KILL_POINT_FILE"]))
