"""Objects that were seen: the observer asks an API, which the tour runs beside the stack.

Its container is the tour's own, and gone with it. Where OBSERVER_URL names an API of yours, that is
asked, and nothing is checked.
"""

import contextlib
import subprocess
from collections.abc import Iterator
from datetime import datetime
from typing import LiteralString

import httpx
import psycopg
import redis

from demo.failure import EXIT_UNREACHABLE, DemoFailed
from demo.screen import Screen
from demo.stack import ROOT, Configuration
from tour.checks import until
from tour.gateway import answer

API = ROOT / "tests" / "support" / "object_api.py"
NAME = "observer-api"
SERVICE = "observer"
SETTING = "OBSERVER_URL"
URL = f"http://{NAME}:8080"
ONLINE, OFFLINE = 7, 8
KEY = "minutebook:last_seen:{}"
TIMEOUT_S = 60.0
SELECT_NOW: LiteralString = "SELECT clock_timestamp()"
SELECT_SEEN: LiteralString = """
SELECT object_id, seen_at
  FROM last_seen
 WHERE object_id = ANY (%(ids)s)
   AND seen_at >= %(after)s
"""


@contextlib.contextmanager
def api(configuration: Configuration) -> Iterator[bool]:
    """Run the API while inside; yields whether it is the one that is asked."""
    if configuration.setting(SERVICE, SETTING) != URL:
        yield False
        return
    name = f"{configuration.project}-{NAME}"
    command = [
        "run", "--detach", "--rm", f"--name={name}", f"--network={configuration.project}_default",
        f"--network-alias={NAME}", f"--volume={API}:/opt/object_api.py:ro,z",
        configuration.services[SERVICE]["image"],
        "python", "/opt/object_api.py", "--host=0.0.0.0", f"--offline={OFFLINE}",
    ]  # fmt: skip
    _docker("rm", "--force", name, check=False)  # of a tour that was killed
    _docker(*command)
    try:
        yield True
    finally:
        _docker("rm", "--force", name, check=False)


def check(
    screen: Screen, http: httpx.Client, conn: psycopg.Connection, keydb: "redis.Redis"
) -> None:
    """Say that two objects were seen, and wait until the one that is online is kept."""
    ((began,),) = conn.execute(SELECT_NOW).fetchall()
    found = answer(http.post("/callback", json={"object_ids": [ONLINE, OFFLINE]}), 202)
    screen.say(f"POST /callback: {found['objects']} objects, {ONLINE} and {OFFLINE}")
    until(lambda: _seen(conn, began), f"object {ONLINE} is not in last_seen", TIMEOUT_S)
    until(lambda: keydb.get(KEY.format(ONLINE)), f"KeyDB has no {KEY.format(ONLINE)}")
    if OFFLINE in _seen(conn, began):
        raise DemoFailed(f"object {OFFLINE} is in last_seen: it is not online")
    shown = str(keydb.get(KEY.format(ONLINE)))
    screen.say(f"last_seen: object {ONLINE} at {shown}, for 30 s; {OFFLINE} is not online")


def _seen(conn: psycopg.Connection, after: datetime) -> dict[int, datetime]:
    given = {"ids": [ONLINE, OFFLINE], "after": after}
    return dict(conn.execute(SELECT_SEEN, given).fetchall())


def _docker(*arguments: str, check: bool = True) -> None:
    answer = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if check and answer.returncode:
        raise DemoFailed(
            f"'docker {arguments[0]}' failed: the API that the observer asks does not run",
            exit_code=EXIT_UNREACHABLE,
            details=answer.stderr.splitlines(),
        )
