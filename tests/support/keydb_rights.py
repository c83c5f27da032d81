"""What our services, and operators, may ask of KeyDB: the rights of their users under test."""

from pathlib import Path

ROOT = Path(__file__).parents[2]

SENT = ["+info", "+hmget", "+smembers", "+multi", "+exec"]
SENT += ["+evalsha", "+script|load"]
TO_CONNECT = ["+client|setname", "+select"]
IN_THE_SCRIPT = ["+type", "+hmget", "+mset", "+del", "+sadd", "+srem", "+hset", "+time"]
TO_TELL_READERS = ["+publish"]
CHANNEL = "&minutebook:ticks"
TO_RECONCILE = ["+mget"]
BY_OPERATORS = ["+scard", "+hget", "+config|get"]
USER, OPERATOR, OBSERVER, PASSWORD = "minutebook", "operator", "observer", "secret"
RULES = [
    "on",
    f">{PASSWORD}",
    "~*",
    CHANNEL,
    *dict.fromkeys([*SENT, *TO_CONNECT, *IN_THE_SCRIPT, *TO_TELL_READERS, *TO_RECONCILE]),
]
OPERATORS_RULES = [*RULES, *BY_OPERATORS]
OBSERVERS_RULES = [
    "on",
    f">{PASSWORD}",
    *(ROOT / "deploy/keydb/observer.rules").read_text().split(),
]
"""Those that we ship: the observer's tests work with nothing else."""


def known_to_keydb() -> set[str]:
    """Return the names of all commands of KeyDB 6.3."""
    lines = (Path(__file__).parent / "keydb_commands.txt").read_text().splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}
