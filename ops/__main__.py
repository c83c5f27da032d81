"""`python -m ops`, installed as `minutebook`: all commands in one place."""

import click

from ops.balances.command import balances
from ops.dead_letters.command import dead_letters
from ops.doctor.command import doctor
from ops.providers.command import provider
from ops.reconcile.command import reconcile_
from ops.repair.command import audit_, outbox_, rebuild_
from ops.sending.command import send
from ops.sending.load import load
from ops.status.command import status
from shared import output
from shared.program import ABOUT_VERSION
from shared.version import VERSION

ABOUT = """Operate Minutebook: see how it is, ask what it knows, repair what is wrong.

The servers are those of the services: POSTGRES_DSN, RABBITMQ_URL and KEYDB_URL, from the
environment or from files in SECRETS_DIR. Exit codes: 0 fine, 1 a finding, 2 usage or settings,
3 a server cannot be reached or refuses us, 70 a bug, 130 interrupted. They say what was done,
whether or not the answer could be shown.
"""


@click.version_option(VERSION, prog_name="minutebook", message=ABOUT_VERSION)
@click.group(help=ABOUT, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Do nothing by itself: each command loads the settings that it needs."""


COMMANDS = (
    status, balances, provider, send, load, dead_letters, reconcile_, rebuild_, audit_, outbox_,
    doctor,
)  # fmt: skip
for command in COMMANDS:
    main.add_command(command)


def run(name: str | None = None) -> None:
    """Do what the command line says; `name` is what the help calls this program."""
    output.protect()
    main(prog_name=name)


if __name__ == "__main__":
    run("python -m ops")
