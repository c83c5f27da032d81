"""Kill points: a service dies between two steps of its protocol, exactly there.

The services are composed by the files of their names beside this, `ingest.py` and so on; what is
passed to them is wrapped (`kill_points.py`), they know nothing of it.
Postgres, which takes an outbox partition away in one function, is killed in the middle of that.
"""

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from docker.errors import APIError
from docker.models.containers import Container

from tests.faults import rare_work
from tests.faults.fault import Fault, Struck
from tests.faults.kill_orders import STATUS
from tests.support.containers import ROOT
from tests.support.eventually import eventually
from tests.support.stack import Stack

OVERRIDE = ROOT / "tests" / "faults" / "compose.kill_points.yaml"
GIVE = 'printf %s "$0" > "$KILL_POINT_FILE"'
# Fails if the order is no longer there: then it is being carried out.
TAKE_BACK = 'rm "$KILL_POINT_FILE"'
ATTEMPTS, WITHIN_S = 15, 5.0
"""The step comes within these together, even if another part is away meanwhile. A partition is
dropped only if its locks are had in 50 ms: under load that may take some lives of the syncer."""
DIES_WITHIN_S = 30.0
POLL_S = 0.1
"""The engine is asked for each look, beside a stack that needs the processor."""

Provoke = Callable[[Stack], contextlib.AbstractContextManager[rare_work.Nudge]]


@dataclass(frozen=True)
class KillPoint:
    """`part` dies at `step`; `provoke` brings it there where load alone does not."""

    part: str
    name: str
    step: str
    provoke: Provoke = rare_work.none

    def strike(self, stack: Stack) -> Struck:
        """Have it die with work in hand, and start it again. Fails if it did not."""
        armed = [one for one in stack.containers(self.part) if obeys(one, GIVE, self.step)]
        with self.provoke(stack) as nudge:
            try:
                _reached(lambda: any(map(_died, armed)), nudge)
            finally:
                struck = [one for one in armed if not obeys(one, TAKE_BACK)]
                eventually(lambda: all(map(_died, struck)), DIES_WITHIN_S, pause_s=POLL_S)
                for one in struck:
                    one.start()
        return Struck(in_flight=min(_in_hand(one, self.step) for one in struck) > 0)


@dataclass(frozen=True)
class BetweenDetachAndDrop:
    """Postgres is killed after an outbox partition was detached and before it is dropped."""

    part: str = "postgres"
    name: str = "killed between detach and drop"

    def strike(self, stack: Stack) -> Struck:
        """Kill it there and start it again. Fails if it never came there."""
        victim = stack.container(self.part)
        with rare_work.expired_partition(stack, held=True) as nudge:
            _reached(lambda: rare_work.is_held(stack), nudge)
            victim.kill()
            victim.wait()
            victim.start()
        return Struck(in_flight=True)


def _reached(there: Callable[[], bool], nudge: rare_work.Nudge) -> None:
    for attempt in range(ATTEMPTS):
        nudge()
        try:
            eventually(there, WITHIN_S, pause_s=POLL_S)
        except AssertionError:
            if attempt == ATTEMPTS - 1:
                raise
        else:
            return


def obeys(container: Container, command: str, *arguments: str) -> bool:
    """Run a command in the container; false if that failed, or if it does not run."""
    try:
        done = container.exec_run(["sh", "-c", command, *arguments])
    except APIError:
        return False
    return done.exit_code == 0


def _died(container: Container) -> bool:
    container.reload()
    state = container.attrs["State"]
    return bool(state["Status"] == "exited" and state["ExitCode"] == STATUS)


def _in_hand(container: Container, step: str) -> int:
    """Return what it said last: how much work it had in hand when it died, at which step."""
    for line in reversed(container.logs(tail=200).decode(errors="replace").splitlines()):
        if line.startswith('{"event": "killed_at"'):
            said = json.loads(line)
            assert said["step"] == step, f"died at {said['step']} instead of {step}"
            return int(said["in_hand"])
    message = f"{container.name} ended with {STATUS} and said nothing of it"
    raise AssertionError(message)


@contextlib.contextmanager
def prepare(stack: Stack) -> Iterator[None]:
    """Have the stack started with services that can be told to die at a step."""
    stack.overrides.append(OVERRIDE)
    yield


FAULTS: list[Fault] = [
    # Receive, insert, commit, ack.
    KillPoint("ingest", "killed when it received a message", "message received"),
    KillPoint("ingest", "killed before the insert", "before batch"),
    KillPoint("ingest", "killed between insert and COMMIT", "before COMMIT of batch"),
    KillPoint("ingest", "killed between COMMIT and ack", "after COMMIT of batch"),
    KillPoint("ingest", "killed before a batch of one statement", "before ordinary batch"),
    KillPoint("ingest", "killed between such a batch and ack", "after ordinary batch"),
    KillPoint("ingest", "killed before the ack is sent", "before ack"),
    KillPoint("ingest", "killed after the ack", "after ack"),
    # Messages that waited become rows.
    KillPoint("ingest", "killed before a release", "before release", rare_work.release),
    KillPoint(
        "ingest",
        "killed between release and COMMIT",
        "before COMMIT of release",
        rare_work.release,
    ),
    KillPoint("ingest", "killed after a release", "after COMMIT of release", rare_work.release),
    # A boundary is due, published, confirmed.
    KillPoint("ticker", "killed at the boundary", "before publish"),
    KillPoint("ticker", "killed after the confirm", "after publish"),
    # Fold, lock, tick, commit; watermark, script, published_at, ack of the tick.
    KillPoint("syncer", "killed after a fold", "after fold"),
    KillPoint("syncer", "killed between interim tick and COMMIT", "before COMMIT of interim tick"),
    KillPoint("syncer", "killed after an interim tick", "after COMMIT of interim tick"),
    KillPoint("syncer", "killed after reading the watermark", "watermark read"),
    KillPoint("syncer", "killed with the lock", "after lock"),
    KillPoint("syncer", "killed between tick and COMMIT", "before COMMIT of tick"),
    KillPoint("syncer", "killed between COMMIT and script", "after COMMIT of tick"),
    KillPoint("syncer", "killed within a chunked send", "chunk sent"),
    KillPoint("syncer", "killed between script and published_at", "after script"),
    KillPoint("syncer", "killed before the tick's ack", "before ack"),
    KillPoint("syncer", "killed after the tick's ack", "after ack"),
    # Retention.
    KillPoint("syncer", "killed before a drop", "before drop", rare_work.expired_partition),
    KillPoint(
        "syncer",
        "killed between drop and COMMIT",
        "before COMMIT of drop",
        rare_work.expired_partition,
    ),
    KillPoint("syncer", "killed after a drop", "after COMMIT of drop", rare_work.expired_partition),
    BetweenDetachAndDrop(),
    # Events, their confirms, tick.closed, its confirm, the position.
    KillPoint("feed", "killed between events and confirm", "events published"),
    KillPoint("feed", "killed between confirm and tick.closed", "events confirmed"),
    KillPoint("feed", "killed between tick.closed and confirm", "closing published"),
    KillPoint("feed", "killed between confirm and move", "closing confirmed"),
    KillPoint("feed", "killed after the move", "after move"),
    # Position and notifications, COMMIT, publish, confirm, sent_at.
    KillPoint("notifier", "killed between position and COMMIT", "before COMMIT of judgement"),
    KillPoint("notifier", "killed between COMMIT and publish", "before publish"),
    KillPoint("notifier", "killed between confirm and note", "after confirm"),
    # A request is inserted, its items published, confirmed, that noted, the request acknowledged.
    KillPoint("tracker", "killed when it received a request", "message received"),
    KillPoint("tracker", "killed between COMMIT and items", "before known"),
    KillPoint("tracker", "killed between items and confirm", "items published"),
    KillPoint("tracker", "killed between confirm and published_at", "items confirmed"),
    KillPoint("tracker", "killed between published_at and ack", "after published_at"),
    KillPoint("tracker", "killed after the request's ack", "after ack"),
    # It is decided, COMMIT, reply, confirm, replied_at.
    KillPoint("tracker", "killed between decision and COMMIT", "before COMMIT of decision"),
    KillPoint("tracker", "killed between COMMIT and reply", "before publish"),
    KillPoint("tracker", "killed between confirm and replied_at", "after confirm"),
    # A sighting is looked up, written, COMMIT, shown, acknowledged.
    KillPoint("observer", "killed when it received a sighting", "message received"),
    KillPoint("observer", "killed between the row and COMMIT", "before COMMIT of seen"),
    KillPoint("observer", "killed between COMMIT and key", "after COMMIT of seen"),
    KillPoint("observer", "killed between key and ack", "before ack"),
    # A request by HTTP is published, confirmed, answered.
    KillPoint("gateway", "killed before the publish", "before publish"),
    KillPoint("gateway", "killed between confirm and 202", "after confirm"),
]
