"""`python -m tour`: one transaction by HTTP, and all that is told of it."""

import os
import sys

import httpx

from demo import outcome
from demo.screen import Screen
from shared import program
from tour import scenario

ABOUT = """\
Shows what is around the core: starts the stack with all its profiles, loads the worked example's
rows if the tables are empty, sends {"id": 1, "value": 600} by HTTP, waits for the next boundary,
and checks the request, its reply, the transaction's life, an alert's notification, the events of
changes, the balance and what it is worth; then that of two objects that were seen the one online is
kept, by a small API that it runs beside the stack. Run again, it adds 600 more."""
EPILOG = """\
\b
Settings come from .env and the environment, as for 'make up'; .env.example says which there are.
Exit status: 0 everything says what it should, 1 something does not or the stack did not start (a
port in use, say), 2 usage or settings, 3 something cannot be reached, 130 interrupted."""


def main() -> int:
    """Do what the command line says; return the exit status."""
    return program.execute(command, "tour")


@program.command(ABOUT, EPILOG)
def command() -> int:
    """Run the tour; return the exit status."""
    os.environ["COMPOSE_PROFILES"] = "all"
    return outcome.of(scenario.run, Screen("tour"), httpx.TransportError)


if __name__ == "__main__":
    sys.exit(main())
