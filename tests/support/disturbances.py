"""What is to happen to messages that pass a proxy: said by a test, done by `tcp_proxy`."""

import re
import threading
import time
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["reply", "request", "half", "text", "answer", "delay", "hold"]


@dataclass
class Disturbance:
    """What to do to the next message that `pattern` is found in; `hits` says how often it was done.

    `reply`: forward the request, lose its reply and reset the connection; a refusal is passed on,
    since what was refused was not done, and the next one is waited for. `request`: reset instead
    of forwarding. `half`: forward one half of the request and reset. `text`: the server says it,
    and the connection is reset in the middle of it. `answer`: the server says it, and it is lost
    with all that came with it. `hold`: keep the request and all after it until `release`.
    `delay`: until `ends_at` keep whatever comes, either way, for `each_way_s` at least; the hits
    are only counted.
    """

    kind: Kind
    pattern: re.Pattern[bytes]
    each_way_s: float = 0.0
    ends_at: float = 0.0
    times: int = 1
    """How often it is to be done."""
    hits: int = 0
    done: threading.Event = field(default_factory=threading.Event)

    def happened(self) -> None:
        """Note that it was done."""
        self.hits += 1
        self.done.set()


class Disturbances:
    """What is to happen at one proxy: of each kind one at a time."""

    def __init__(self) -> None:
        """Nothing, to begin with."""
        self._lock = threading.Lock()
        self._wanted: dict[Kind, Disturbance] = {}
        self._released = threading.Event()
        self.cuts = 0
        """How many connections were cut."""

    def lose_reply_to(self, request: bytes, times: int = 1) -> Disturbance:
        """Forward the next requests that hold `request`, lose the reply, reset the connection."""
        return self.disturb(Disturbance("reply", re.compile(re.escape(request)), times=times))

    def lose(self, request: bytes) -> Disturbance:
        """Reset the connection instead of forwarding the next request that holds `request`."""
        return self.disturb(Disturbance("request", re.compile(re.escape(request))))

    def cut_within(self, text: bytes) -> Disturbance:
        """Reset the connection in the middle of the next `text` that the server sends."""
        return self.disturb(Disturbance("text", re.compile(re.escape(text))))

    def hold(self, request: bytes) -> Disturbance:
        """Keep the next request that holds `request`, and all after it, until `release`."""
        return self.disturb(Disturbance("hold", re.compile(re.escape(request))))

    def release(self) -> None:
        """Forward what is held, however late."""
        self._released.set()

    def wait_for_release(self) -> None:
        """Wait until what is held may go on."""
        self._released.wait()

    def disturb(self, disturbance: Disturbance) -> Disturbance:
        """Have this happen from now on, in the place of an older one of its kind."""
        with self._lock:
            self._wanted[disturbance.kind] = disturbance
        return disturbance

    def disturb_no_more(self, disturbance: Disturbance) -> None:
        """Have this happen no more."""
        with self._lock:
            if self._wanted.get(disturbance.kind) is disturbance:
                del self._wanted[disturbance.kind]

    def due(self, kind: Kind, data: bytes) -> tuple[Disturbance, re.Match[bytes]] | None:
        """Return what is to happen to `data`, which the caller now does, and where it fits."""
        with self._lock:
            wanted = self._wanted.get(kind)
            found = wanted.pattern.search(data) if wanted else None
            if wanted is None or found is None:
                return None
            wanted.times -= 1
            if not wanted.times:
                del self._wanted[kind]
            return wanted, found

    def delay(self, data: bytes) -> None:
        """Keep `data` for as long as was asked for."""
        wanted = self._wanted.get("delay")
        if wanted and time.monotonic() < wanted.ends_at:
            wanted.hits += bool(wanted.pattern.search(data))
            self._released.wait(wanted.each_way_s)
