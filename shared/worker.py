"""A thread that goes on through lost connections; what ends it is raised where it was started."""

import contextlib
import threading
from collections.abc import Callable, Iterator

import structlog

from shared import retry
from shared.errors import Unavailable
from shared.health import Health

log = structlog.get_logger()


@contextlib.contextmanager
def running(
    name: str, live: Callable[[], None], stop: threading.Event, health: Health
) -> Iterator[threading.Event]:
    """Run `live`, life after life, in a thread until `stop`; yields an event set at its end.

    `live` says in each turn of its loop that it turns.

    A failure sets `stop`, too, makes the service unhealthy, and is raised on the way out.
    """
    failures: list[BaseException] = []
    ended = threading.Event()

    def work() -> None:
        try:
            retry.run_with_reconnect(stop, live, health.turning(name))
        except Unavailable as error:
            log.info("worker_stopped", worker=name, server=error.server)
        except BaseException as failure:  # noqa: BLE001 - raised again by the one who started it
            failures.append(failure)
            # Under a name that nobody reports progress for: this is not mended in this process.
            health.problem(f"thread {name}", f"ended: {type(failure).__name__}")
            stop.set()
        finally:
            ended.set()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]
