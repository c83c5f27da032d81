"""An outside reader: keys and watermark in one MULTI, every few milliseconds, all the time."""

import contextlib
import threading
from collections.abc import Iterator, Sequence

import psycopg
import redis

from services.syncer.projection import KEYS_KEY, WATERMARK_KEY
from tests.support import ledger
from tests.support.ledger import Values

PAUSE_S = 0.003
Pairs = tuple[tuple[str, str], ...]


class KeydbReader:
    """Remembers every state that was ever seen, and fails at the first that went back."""

    def __init__(self, store: "redis.Redis", names: Sequence[str]) -> None:
        """`names` are all the keys that may ever be ours."""
        self._store = store
        self._names = list(names)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._floor = (-1, "")
        self._told: dict[tuple[str, str], Values] = {}
        self.seen: set[tuple[str, str, Pairs]] = set()
        self.reads = 0

    @contextlib.contextmanager
    def another_life(self) -> Iterator[None]:
        """Look away while the test does to the store what no write of ours may."""
        with self._lock:
            yield
            self._floor = (-1, "")

    def told(self, epoch: str, token: str, values: Values) -> None:
        """Note what is right to see under a watermark that no database of the test wrote."""
        self._told[epoch, token] = values

    def learn(self, conn: psycopg.Connection) -> None:
        """Note what is right to see under every tick that this database wrote so far."""
        for epoch, token in conn.execute("SELECT epoch, token FROM tick").fetchall():
            self._told.setdefault((str(epoch), token), ledger.balances(conn, epoch))

    def watch(self) -> None:
        """Read until told to stop; an unreachable store is looked at again."""
        while not self._stop.wait(PAUSE_S):
            with self._lock, contextlib.suppress(redis.exceptions.ConnectionError):
                self._read()

    def stop(self) -> None:
        """Let `watch` return."""
        self._stop.set()

    def assert_nothing_mixed(self) -> None:
        """Fail unless every state seen is exactly that of the tick its watermark names."""
        assert self.reads > 10
        for epoch, token, pairs in self.seen:
            assert dict(pairs) == self._told[epoch, token], f"mixed at {epoch} {token}"

    def _read(self) -> None:
        with self._store.pipeline(transaction=True) as pipe:
            pipe.hmget(WATERMARK_KEY, ["epoch", "token"])
            pipe.smembers(KEYS_KEY)
            pipe.mget(self._names)
            (epoch, token), keys, values = pipe.execute()
        held = {n: v for n, v in zip(self._names, values, strict=True) if v is not None}
        assert set(held) == keys, "the set of our keys is another than the keys that are there"
        self.reads += 1
        if epoch is None:
            assert not keys, "keys without a watermark"
            return
        assert int(epoch) >= self._floor[0], f"epoch {epoch} after {self._floor[0]}"
        if int(epoch) == self._floor[0]:
            assert token == self._floor[1], f"another token at epoch {epoch}"
        self._floor = (int(epoch), token)
        self.seen.add((epoch, token, tuple(sorted(held.items()))))


@contextlib.contextmanager
def watching(store: "redis.Redis", names: Sequence[str]) -> Iterator[KeydbReader]:
    """Watch while inside; fails at the end if anything went back or was mixed."""
    reader = KeydbReader(store, names)
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            reader.watch()
        except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
            failures.append(error)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield reader
    finally:
        reader.stop()
        thread.join()
    assert not failures, failures[0]
    reader.assert_nothing_mixed()
