"""Whether the observer keeps up with a slow API, and what an outage of the API costs.

- *4 s an answer*: 200 sightings a second for a minute at 1,000 lookups at a time. `waiting` is the
  most that stood in the queue: more comes than is looked up where it grows.
- *a minute's outage*: 200 a second, an API that answers in 50 ms and is gone for the second of
  three minutes. `asked meanwhile` is how often it was asked while it was gone, by connections that
  are refused; `asked most` in one second afterwards; `right after` how long until all are settled.

The API (`tests/support/object_api.py`) and whoever sends share this machine with the observer.
"""

import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pika

from bench import programs
from bench.ground import Ground, Site, ground
from bench.programs import Program
from bench.result import Plan, Progress, Result, Row
from tests.support import keydb_rights, object_api
from tests.support.beside import beside
from tests.support.object_api import ObjectApi, Running

QUESTION = "what becomes of 200 sightings a second"
PER_S, BURSTS_PER_S = 200, 20
SLOW_S, FAST_S = 4.0, 0.05
LOAD_S, OUTAGE_S = 60.0, 60.0
SETTLED_TIMEOUT_S = 300.0
SETTLED = 'minutebook_sightings_total{{outcome="{}"}}'
QUEUE = "sightings"


class Traffic:
    """Sightings of ever new objects at a steady rate, and the queue's depth."""

    def __init__(self, amqp_url: str) -> None:
        """Nothing is sent before `flowing`."""
        self._url = amqp_url
        self._stop = threading.Event()
        self.sent = 0
        self.waiting_most = 0

    @contextlib.contextmanager
    def flowing(self) -> Iterator["Traffic"]:
        """Send while inside."""
        with beside(self._publish, self._stop.set):
            yield self

    def _publish(self) -> None:
        parameters = pika.URLParameters(self._url)
        with contextlib.closing(pika.BlockingConnection(parameters)) as connection:
            channel = connection.channel()
            due = time.monotonic()
            while not self._stop.wait(max(0.0, due - time.monotonic())):
                due += 1 / BURSTS_PER_S
                for _ in range(PER_S // BURSTS_PER_S):
                    self.sent += 1
                    body = json.dumps({"object_id": self.sent}).encode()
                    properties = pika.BasicProperties(delivery_mode=2)
                    channel.basic_publish("", QUEUE, body, properties)
                ready = channel.queue_declare(QUEUE, passive=True).method.message_count
                self.waiting_most = max(self.waiting_most, ready)


def measure(site: Site, plan: Plan, progress: Progress) -> Result:
    """Ask both once, whatever the plan: each takes minutes."""
    del plan
    progress.turn(f"{SLOW_S:g} s an answer")
    rows = [_slow(site)]
    progress.turn("a minute's outage")
    rows.append(_outage(site))
    columns: Row = dict.fromkeys(key for row in rows for key in row)
    return Result("observer_speed", QUESTION, [columns | row for row in rows])


def _slow(site: Site) -> Row:
    with _observing(site, ObjectApi(delay_s=SLOW_S), concurrency=1000) as (made, api, program):
        began = time.monotonic()
        cpu_s = program.cpu_s()
        with Traffic(made.amqp_url).flowing() as traffic:
            time.sleep(LOAD_S)
        used = (program.cpu_s() - cpu_s) / (time.monotonic() - began)
        after_s = _settled(program, traffic.sent)
        return {
            "what": f"{SLOW_S:g} s an answer, 1,000 at a time",
            "sent": traffic.sent,
            "retried": program.metric(SETTLED.format("retried")),
            "waiting": traffic.waiting_most,
            "at once": api.api.at_once_max,
            "right after s": after_s,
            "CPU %": used * 100,
            "peak MiB": program.memory_peak_mib(),
        }


def _outage(site: Site) -> Row:
    with _observing(site, ObjectApi(delay_s=FAST_S), concurrency=100) as (made, api, program):
        with Traffic(made.amqp_url).flowing() as traffic:
            time.sleep(LOAD_S)
            api.down()
            before = program.metric('minutebook_lookups_total{outcome="silence"}')
            time.sleep(OUTAGE_S)
            meanwhile = program.metric('minutebook_lookups_total{outcome="silence"}') - before
            api.up()
            most = _asked_most(api, LOAD_S)
        after_s = _settled(program, traffic.sent)
        return {
            "what": "a minute's outage, 100 at a time",
            "sent": traffic.sent,
            "retried": program.metric(SETTLED.format("retried")),
            "waiting": traffic.waiting_most,
            "at once": api.api.at_once_max,
            "right after s": after_s,
            "asked meanwhile": meanwhile,
            "asked most": most,
            "peak MiB": program.memory_peak_mib(),
        }


def _asked_most(api: Running, for_s: float) -> int:
    """Return how often the API is asked in the busiest second of a time."""
    most = 0
    for _ in range(int(for_s)):
        before = api.api.asked.total()
        time.sleep(1)
        most = max(most, api.api.asked.total() - before)
    return most


def _settled(program: Program, sent: int) -> float:
    """Wait until all are seen; return how long that took (seconds)."""
    began = time.monotonic()

    def all_seen() -> bool:
        return program.metric(SETTLED.format("seen")) >= sent

    programs.wait_until(all_seen, SETTLED_TIMEOUT_S, "not all are seen")
    return time.monotonic() - began


@contextlib.contextmanager
def _observing(
    site: Site, behaviour: ObjectApi, *, concurrency: int
) -> Iterator[tuple[Ground, Running, Program]]:
    with ground(site) as made, object_api.running(behaviour) as api:
        observer = programs.service(
            "observer",
            OBSERVER_URL=api.url,
            OBSERVER_CONCURRENCY=str(concurrency),
        )
        given = {"KEYDB_URL": site.keydb.url(keydb_rights.OBSERVER)}
        with observer.running(made, **given) as program:
            programs.said(program, '"consuming"')
            yield made, api, program
