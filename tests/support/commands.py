"""What our services may ask of KeyDB: the rights of their user on every server under test."""

from pathlib import Path

SENT = [
    "+info",
    "+multi",
    "+exec",
    "+mget",
    "+hmget",
    "+smembers",
    "+evalsha",
    "+script|load",
    "+client|setname",
]
IN_THE_SCRIPT = ["+type", "+hmget", "+mset", "+del", "+sadd", "+srem", "+hset", "+time"]
USER, PASSWORD = "minutebook", "secret"
RULES = ["on", f">{PASSWORD}", "~*", *dict.fromkeys([*SENT, *IN_THE_SCRIPT])]


def known_to_keydb() -> set[str]:
    """Return the names of all commands of KeyDB 6.3."""
    lines = (Path(__file__).parent / "keydb_commands.txt").read_text().splitlines()
    return {word for line in lines if not line.startswith("#") for word in line.split()}
