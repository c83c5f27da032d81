"""Exit at a named step, when told to: no clean end, nothing flushed, sockets closed by the kernel.

Or a pause there: connections stay, nobody answers them. Runs inside our services, composed
by the files of their names beside it. The order is a file that holds the step's
name, or `asleep STEP`. It goes with the process: /tmp is the container's own.
"""

import contextlib
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

STATUS = 86
"""The exit status of a process that died here, and of no other."""
ASLEEP = "asleep "
POLL_S = 0.02


@dataclass(frozen=True)
class KillOrders:
    """Where the order is looked for."""

    order: Path

    def at(self, step: str, in_hand: int = 1) -> None:
        """Die if that is the order and there is any work in hand; say so first. Or sleep."""
        if in_hand and self.ordered(ASLEEP + step):
            self._sleep()
        if in_hand and self.ordered(step):
            try:
                self.order.unlink()
            except FileNotFoundError:
                return  # taken back at this very moment
            line = {"event": "killed_at", "step": step, "in_hand": in_hand}
            os.write(2, json.dumps(line).encode() + b"\n")
            os._exit(STATUS)

    def _sleep(self) -> None:
        """Until the order, which has another name meanwhile, is gone."""
        asleep = self.order.with_name(f"{self.order.name}.asleep")
        with contextlib.suppress(FileNotFoundError):  # taken back at this very moment
            self.order.rename(asleep)
        while asleep.exists():
            threading.Event().wait(POLL_S)

    def ordered(self, step: str) -> bool:
        """Say whether to die at `step`."""
        try:
            return self.order.read_text() == step
        except FileNotFoundError:
            return False


def by_settings() -> KillOrders:
    """Return what the environment says: `KILL_POINT_FILE`."""
    return KillOrders(Path(os.environ["KILL_POINT_FILE"]))
