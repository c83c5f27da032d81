"""`python -m demo`: one message in, the right balance a minute later, from nothing."""

import sys

import psycopg
import redis
from pika.exceptions import AMQPError

from demo import scenario
from demo.failure import EXIT_INTERRUPTED, EXIT_UNREACHABLE, DemoFailed
from demo.screen import Screen
from shared import program

ABOUT = """\
Shows the main job from nothing: starts the stack of compose.yaml, loads the worked example's rows
if the tables are empty, publishes {"id": 1, "value": 600}, waits for the next boundary and checks
that KeyDB says what Postgres says. Run again, it adds 600 more."""
EPILOG = """\
\b
Settings come from .env and the environment, as for 'make up'; .env.example says which there are.
Exit status: 0 KeyDB says what it should, 1 it does not or the stack did not start (a port in use,
say), 2 usage or settings, 3 something cannot be reached, 130 interrupted."""


def main() -> int:
    """Do what the command line says; return the exit status."""
    return program.execute(command, "demo")


@program.command(ABOUT, EPILOG)
def command() -> int:
    """Run the demo; return the exit status."""
    screen = Screen()
    try:
        scenario.run(screen)
    except DemoFailed as failure:
        screen.failed(failure)
        return failure.exit_code
    except (psycopg.OperationalError, redis.RedisError, AMQPError, ConnectionError) as error:
        # The kind of error only: some libraries put the URL into its text.
        reason = f"a server of the stack cannot be reached ({type(error).__name__}); see 'make ps'"
        screen.failed(DemoFailed(reason))
        return EXIT_UNREACHABLE
    except KeyboardInterrupt:
        reason = "interrupted; what was started goes on: see 'make ps', stop it with 'make down'"
        screen.failed(DemoFailed(reason))
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
