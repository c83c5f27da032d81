"""One look at KeyDB: keys and watermark in one MULTI, with the time at which the store took it.

What is asked is the same every time, so it is packed once and sent as it is: a pipeline of
redis-py makes it again for each look, and takes as long for that as the store for its answer.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY

TIMEOUT_S = 1.0


class Snapshot(NamedTuple):
    """What was there at one moment, as it came: two that are equal say the same."""

    mark: list[str | None]
    """Epoch and token."""
    keys: list[str]
    """The set of our keys."""
    values: list[str | None]
    """Of all the names that were asked for, in their order."""


class SnapshotConnection:
    """One connection to one store."""

    def __init__(self, store: "redis.Redis", names: Sequence[str]) -> None:
        """`store` has a single connection; `names` are all the keys that may ever be ours."""
        self.run_id = store.info("server")["run_id"]
        """Tells one life of the server from the next."""
        connection: Any = store.connection
        self._connection = connection
        asked = [["TIME"], ["HMGET", WATERMARK_KEY, "epoch", "token"], ["SMEMBERS", KEYS_KEY]]
        commands = [["MULTI"], *asked, ["MGET", *names], ["EXEC"]]
        self._answers = len(commands)
        self._packed = [b"".join(connection.pack_commands(commands))]

    def take(self) -> tuple[float, Snapshot]:
        """Return what is there, and the store's clock (seconds) when it was."""
        self._connection.send_packed_command(self._packed, check_health=False)
        *_, answer = [self._connection.read_response() for _ in range(self._answers)]
        for error in answer:
            if isinstance(error, Exception):
                raise error
        (seconds, micros), *found = answer
        return int(seconds) + int(micros) / 1e6, Snapshot(*found)


@contextlib.contextmanager
def connected(port: int, names: Sequence[str]) -> Iterator[SnapshotConnection]:
    """Connect to the store at `port` of this machine. Raises redis-py's errors, at once."""
    with redis.Redis(
        "127.0.0.1",
        port,
        decode_responses=True,
        protocol=2,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
        single_connection_client=True,
    ) as store:
        yield SnapshotConnection(store, names)
