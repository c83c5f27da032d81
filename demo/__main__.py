"""`python -m demo`: one message in, the right balance a minute later, from nothing."""

import sys

from demo import outcome, scenario
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
    return outcome.of(scenario.run, Screen())


if __name__ == "__main__":
    sys.exit(main())
