"""Addresses that people give: URLs of servers, DSNs, names and ports. Pure; each error says why.

Client libraries find out late, in texts with the address in them, or not at all: what
they would take for something else, or ignore, is refused here. No message quotes what was given.
"""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

PORT_MAX = 65535
SENTINEL_PORT = 26379
SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
AMQP_NAME_BYTES_MAX = 255
NAME = re.compile(r"^(?!-)[A-Za-z0-9_.-]{1,253}$")
UNVERIFIED_MODES = ("require", "verify-ca")
"""Modes of libpq that encrypt and do not check who answers."""
CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "verify-full"),
    "target_session_attrs": ("any", "read-write", "primary"),  # we write
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
}  # fmt: skip
"""Options of libpq that have few values; it looks at them when it connects."""
NUMBERS = (
    "connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count",
    "tcp_user_timeout",
)  # fmt: skip
FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
ENCODE = "(are all characters encoded?)"


def check_url(url: str, *schemes: str) -> SplitResult:
    """Return the parts of a URL of one of `schemes`. Raises `ValueError` unless it is one."""
    with contextlib.suppress(ValueError):  # its message quotes the URL, password and all
        parts = urlsplit(url)
        fits = parts.scheme in schemes and parts.port != 0 and not parts.fragment
        # Half a login makes pika fail where nobody would look for it.
        whole = not parts.username or parts.password is not None
        if fits and whole and is_host(unquote(parts.hostname or "")):
            return parts
    raise ValueError(f"not a URL of the form {schemes[0]}://host {ENCODE}")


def each_host(url: str) -> list[str]:
    """Return, for each of the hosts of `url`, separated by commas, the URL that names it alone."""
    scheme, mark, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    login, at, hosts = authority.rpartition("@")
    tail = rest[len(authority) :]
    return [f"{scheme}{mark}{login}{at}{host}{tail}" for host in hosts.split(",")]


def check_amqp_url(url: str) -> None:
    """Raise `ValueError` unless pika takes `url`, one host at a time, for what it says."""
    for one in each_host(url):
        parts = check_url(one, "amqp", "amqps")
        _check_options(parts)
        if "/" in parts.path[1:]:
            raise ValueError("has a / in its virtual host: write %2F there")


def check_redis_url(url: str) -> None:
    """Raise `ValueError` unless redis-py takes `url` for what it says."""
    if url.partition("://")[0] in SENTINEL_SCHEMES:
        sentinels(url)
        return
    parts = check_url(url, "redis", "rediss")
    given = _check_options(parts, "db")
    for database in (given.get("db", "0"), unquote(parts.path)[1:] or "0"):
        if not (database.isascii() and database.isdigit()):
            raise ValueError("its database is no number: redis://host:6379/0")


@dataclass(frozen=True, slots=True)
class Sentinels:
    """Who knows where the primary of `service` is; the login is the primary's own."""

    hosts: tuple[tuple[str, int], ...]
    service: str
    database: int
    username: str | None = field(repr=False)
    password: str | None = field(repr=False)
    encrypted: bool


def sentinels(url: str) -> Sentinels:
    """Return what `redis+sentinel://user:password@host:26379,host:26379/SERVICE/0` says.

    Raises `ValueError`.
    """
    several = [check_url(one, *SENTINEL_SCHEMES) for one in each_host(url)]
    parts = several[0]
    _check_options(parts)
    service, _, database = unquote(parts.path)[1:].partition("/")
    database = database or "0"
    if not service or not (database.isascii() and database.isdigit()):
        raise ValueError("does not end with /SERVICE/0, a name that Sentinel knows and a database")
    login = (unquote(given) if given else None for given in (parts.username, parts.password))
    username, password = login
    hosts = tuple((one.hostname or "", one.port or SENTINEL_PORT) for one in several)
    encrypted = parts.scheme.startswith("rediss")
    return Sentinels(hosts, service, int(database), username, password, encrypted)


def check_dsn(dsn: str) -> None:
    """Raise `ValueError` unless libpq takes `dsn` for what it says."""
    try:
        given = {name: str(value) for name, value in conninfo_to_dict(dsn).items()}
    except ProgrammingError:  # libpq's message quotes the DSN, password and all
        given = {"host": "@"}
    if "@" in given.get("host", ""):  # half a password, and later errors would show it
        raise ValueError(f"not a PostgreSQL connection string or URL {ENCODE}")
    mode = given.get("sslmode", "")
    if mode in UNVERIFIED_MODES:
        raise ValueError(f"sslmode={mode} does not check who answers: verify-full, and sslrootcert")
    _check_libpq(given)


def check_host(text: str) -> None:
    """Raise `ValueError` unless `text` can be listened on."""
    if not is_host(text):
        raise ValueError("not an address or a name of a host (IPv6 without brackets)")


def check_amqp_name(text: str) -> None:
    """Raise `ValueError` unless AMQP can carry `text` as a queue's name."""
    if len(text.encode()) > AMQP_NAME_BYTES_MAX:
        raise ValueError(f"longer than {AMQP_NAME_BYTES_MAX} bytes in UTF-8")


def is_host(text: str) -> bool:
    """Say whether `text` can be a host's name or address, an IPv6 one without brackets."""
    try:
        ip_address(text)
    except ValueError:
        return bool(NAME.match(text))
    return True


def is_port(text: str) -> bool:
    """Say whether `text` is a port that somebody can listen on."""
    return text.isascii() and text.isdigit() and 0 < int(text[:6]) <= PORT_MAX


def _check_options(parts: SplitResult, *known: str) -> dict[str, str]:
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    if any(name.startswith("ssl") for name in given):
        raise ValueError("says how to do TLS: that is for the settings _CA_FILE and its like")
    if unknown := sorted(given.keys() - set(known)):
        # Behind a ? in a password that was not encoded there is an @, and no option.
        shown = ", ".join(unknown) if "@" not in parts.query else "..."
        ours = "timeouts and the like are Minutebook's own"
        raise ValueError(f"has options that are not taken ({shown[:100]}): {ours}")
    return given


def _check_libpq(given: Mapping[str, str]) -> None:
    for name, values in CHOICES.items():
        if name in given and given[name] not in values:
            raise ValueError(f"{name} is none of {', '.join(values)}")
    for name in NUMBERS:
        if name in given and not re.fullmatch(r"-?[0-9]{1,9}", given[name]):
            raise ValueError(f"{name} is not a whole number")
    if not all(is_port(one) for one in given.get("port", "5432").split(",") if one):
        raise ValueError(f"its port is not a number from 1 to {PORT_MAX}")
    for name in FILES:
        if given.get(name, "system") != "system":
            check_readable(given[name], f"{name} ")


def check_readable(path: str, what: str = "") -> None:
    """Raise `ValueError` unless a file, if one is given, can be read; `what` begins the message."""
    try:
        Path(path or os.devnull).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no such path"
        raise ValueError(f"{what}cannot be read: {reason}") from None
