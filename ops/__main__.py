"""`python -m ops`, installed as `minutebook`: all commands in one place."""

import importlib
import sys

import click

from ops import shards
from shared import output
from shared.program import HELP_OPTIONS, VERSION_OPTION

ABOUT = """Operate Minutebook: see how it is, ask what it knows, repair what is wrong.

The servers are those of the services: POSTGRES_DSN, RABBITMQ_URL and KEYDB_URL, from the
environment or from files in SECRETS_DIR. Exit codes: 0 fine, 1 a finding, 2 usage or settings,
3 a server cannot be reached or refuses us, 70 a bug, 130 interrupted. They say what was done,
whether or not the answer could be shown.
"""


COMMANDS = {
    "status": "ops.status.command:status",
    "console": "ops.console.command:console",
    "find": "ops.find.command:find",
    "balances": "ops.balances.command:balances",
    "statement": "ops.statement.command:statement_",
    "value": "ops.value.command:value",
    "prices": "ops.prices.command:prices",
    "alert": "ops.alerts.command:alert",
    "notifications": "ops.notifications.command:notifications",
    "requests": "ops.tracking.command:requests",
    "provider": "ops.providers.command:provider",
    "transaction": "ops.transactions.command:transaction",
    "send": "ops.sending.command:send",
    "load": "ops.sending.load:load",
    "dead-letters": "ops.dead_letters.command:dead_letters",
    "reconcile": "ops.reconcile.command:reconcile_",
    "rebuild": "ops.repair.command:rebuild_",
    "audit": "ops.repair.command:audit_",
    "outbox": "ops.repair.command:outbox_",
    "feed": "ops.feed.command:feed",
    "followers": "ops.followers.command:followers",
    "doctor": "ops.doctor.command:doctor",
}


class Commands(click.Group):
    """The commands, each imported when it is asked for: one needs a fraction of what all need."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Return the command of this name, if there is one."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command


@VERSION_OPTION
@click.group(cls=Commands, help=ABOUT, context_settings=HELP_OPTIONS)
@click.option(
    "--shard", metavar="NUMBER|all",
    help="Of which shard, where SHARD_DSNS names several; else SHARD's, else all one by one.",
)  # fmt: skip
@click.pass_context
def main(ctx: click.Context, shard: str | None) -> None:
    """Choose the shard; each command loads the settings that it needs."""
    if ctx.invoked_subcommand and not {*HELP_OPTIONS["help_option_names"]} & {*sys.argv}:
        shards.choose(ctx.invoked_subcommand, shard)


def run(name: str | None = None) -> None:
    """Do what the command line says; `name` is what the help calls this program."""
    output.protect()
    main(prog_name=name)


if __name__ == "__main__":
    run("python -m ops")
