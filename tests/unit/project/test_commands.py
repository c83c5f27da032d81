"""The checked list of commands that the user of our services has on the servers under test."""

from tests.support import commands
from tests.support.containers import ROOT

SLOW_OR_DESTRUCTIVE = {"keys", "scan", "sscan", "hscan", "flushall", "flushdb", "debug", "config"}


def names() -> set[str]:
    rights = {*commands.SENT, *commands.IN_THE_SCRIPT, *commands.TO_RECONCILE}
    return {right.removeprefix("+").partition("|")[0] for right in rights}


def test_keydb_has_every_command_that_our_services_may_use() -> None:
    assert len(commands.known_to_keydb()) > 200
    assert names() <= commands.known_to_keydb()
    assert {"scard", "hget", "config"} <= commands.known_to_keydb()


def test_our_services_may_not_use_what_blocks_or_empties_a_store() -> None:
    assert commands.known_to_keydb() >= SLOW_OR_DESTRUCTIVE
    assert not names() & SLOW_OR_DESTRUCTIVE
    assert all(rule.startswith(("on", ">", "~", "+")) for rule in commands.RULES)
    assert not any(rule.startswith("+@") for rule in commands.RULES)


def test_the_rules_that_are_shipped_are_those_under_test() -> None:
    folder = ROOT / "deploy" / "keydb"
    password = commands.RULES[:2]

    assert (folder / "syncer.rules").read_text().split() == commands.RULES[len(password) :]
    assert (folder / "ops.rules").read_text().split() == commands.OPERATORS_RULES[len(password) :]
