"""How a demonstration ends: its exit status, and a word on why."""

from collections.abc import Callable

import psycopg
import redis
from pika.exceptions import AMQPError

from demo.failure import EXIT_INTERRUPTED, EXIT_UNREACHABLE, DemoFailed
from demo.screen import Screen

UNREACHABLE = (psycopg.OperationalError, redis.RedisError, AMQPError, ConnectionError)


def of(run: Callable[[Screen], None], screen: Screen, *unreachable: type[Exception]) -> int:
    """Run it and return its exit status; `unreachable` are further errors of a lost connection."""
    try:
        run(screen)
    except DemoFailed as failure:
        screen.failed(failure)
        return failure.exit_code
    except UNREACHABLE + unreachable as error:
        # The kind of error only: some libraries put the URL into its text.
        reason = f"a part of the stack cannot be reached ({type(error).__name__}); see 'make ps'"
        screen.failed(DemoFailed(reason))
        return EXIT_UNREACHABLE
    except KeyboardInterrupt:
        reason = "interrupted; what was started goes on: see 'make ps', stop it with 'make down'"
        screen.failed(DemoFailed(reason))
        return EXIT_INTERRUPTED
    return 0
