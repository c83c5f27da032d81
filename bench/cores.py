"""Where the time of all cores goes: CPU of processes by name, and what was left idle (Linux)."""

import os
from collections.abc import Mapping
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
SERVERS = {"postgres": "Postgres", "beam.smp": "RabbitMQ"}
IDLE = "idle"


def spent_s() -> Mapping[str, float]:
    """Return CPU seconds so far of each server's living processes, and of nobody.

    By name: a server of another program that runs here would be counted with ours.
    """
    found = dict.fromkeys([*SERVERS.values(), IDLE], 0.0)
    for process in Path("/proc").glob("[0-9]*"):
        try:
            before, _, after = (process / "stat").read_text().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
        server = SERVERS.get(before.partition("(")[2])
        if server:
            found[server] += sum(map(int, after.split()[11:13])) / TICKS_PER_S
    found[IDLE] = sum(map(int, Path("/proc/stat").read_text().split()[4:6])) / TICKS_PER_S
    return found
