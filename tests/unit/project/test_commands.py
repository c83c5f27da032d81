"""The checked list of commands that the user of our services has on the servers under test."""

import shlex

from ruamel.yaml import YAML

from tests.support import keydb_rights
from tests.support.containers import ROOT

SLOW_OR_DESTRUCTIVE = {"keys", "scan", "sscan", "hscan", "flushall", "flushdb", "debug", "config"}


def names() -> set[str]:
    rights = {*keydb_rights.SENT, *keydb_rights.IN_THE_SCRIPT, *keydb_rights.TO_RECONCILE}
    rights |= {*keydb_rights.TO_TELL_READERS}
    return {right.removeprefix("+").partition("|")[0] for right in rights}


def test_keydb_has_every_command_that_our_services_may_use() -> None:
    assert len(keydb_rights.known_to_keydb()) > 200
    assert names() <= keydb_rights.known_to_keydb()
    assert {"scard", "hget", "config"} <= keydb_rights.known_to_keydb()


def test_our_services_may_not_use_what_blocks_or_empties_a_store() -> None:
    assert keydb_rights.known_to_keydb() >= SLOW_OR_DESTRUCTIVE
    assert not names() & SLOW_OR_DESTRUCTIVE
    assert all(
        rule.startswith(("on", ">", "~", "&minutebook:", "+")) for rule in keydb_rights.RULES
    )
    assert not any(rule.startswith("+@") for rule in keydb_rights.RULES)


def test_an_exporter_may_read_no_key_and_compose_gives_it_these_rules() -> None:
    rules = (ROOT / "deploy" / "keydb" / "exporter.rules").read_text().strip()
    allowed = {one.partition("|")[0] for one in rules.split() if one.startswith("+")}

    assert rules.split()[:2] == ["resetkeys", "-@all"]
    assert allowed == {"+info", "+ping", "+client", "+config", "+slowlog", "+latency"}
    # Compose ends a command at a | that is not quoted, and says nothing.
    compose = YAML(typ="safe").load(ROOT / "compose.yaml")
    words = shlex.shlex(compose["services"]["keydb"]["command"], posix=True, punctuation_chars=True)
    words.whitespace_split = True
    assert " ".join(words).endswith(f"--user exporter on nopass {rules}")


def test_the_rules_that_are_shipped_are_those_under_test() -> None:
    folder = ROOT / "deploy" / "keydb"
    password = keydb_rights.RULES[:2]

    assert (folder / "syncer.rules").read_text().split() == keydb_rights.RULES[len(password) :]
    assert (folder / "ops.rules").read_text().split() == keydb_rights.OPERATORS_RULES[
        len(password) :
    ]
