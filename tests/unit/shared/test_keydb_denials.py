"""What a server of KeyDB's family refuses is told with the reason, however the error is wrapped."""

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ConnectionError as RedisConnectionError

from shared import keydb
from shared.errors import Denied, Unavailable

WRAPPED = (
    "ERR Error running script (call to f_2597e0576dd54eb42864e3a1b8392b96e018bcc3):"
    " @user_script:24: @user_script: 24: -{}"
)
SAID = [
    ("READONLY You can't write against a read only replica.", "is a replica"),
    ("MASTERDOWN Link with MASTER is down.", "has lost its primary"),
    ("LOADING KeyDB is loading the dataset in memory", "still reading its data"),
    ("CROSSSLOT Keys in request don't hash to the same slot", "cluster mode"),
    ("MOVED 3999 127.0.0.1:6381", "cluster mode"),
    ("CLUSTERDOWN The cluster is down", "cluster mode"),
    ("MISCONF KeyDB is configured to save RDB snapshots, but", "cannot save to its disk"),
    ("OOM command not allowed when used memory > 'maxmemory'.", "is full (maxmemory)"),
    ("NOREPLICAS Not enough good replicas to write.", "too few replicas"),
    ("NOAUTH Authentication required.", "wants a login"),
    ("WRONGPASS invalid username-password pair", "refuses the login"),
    ("NOPERM this user has no permissions to run the 'select' command", "permits less"),
    ("BUSY KeyDB is busy running a script.", "busy with a script"),
    ("UNKILLABLE Sorry the script already executed write commands", "cannot be ended"),
    ("ERR DB index is out of range", "refuses"),
    ("ERR invalid password", "refuses the login"),
    ("ERR ACL failure in script: User u has no permissions", "permits less"),
    (WRAPPED.format("READONLY You can't write against a read only replica."), "is a replica"),
    (WRAPPED.format("NOREPLICAS Not enough good replicas to write."), "too few replicas"),
    (WRAPPED.format("MISCONF KeyDB is configured to save RDB snapshots"), "cannot save"),
    (WRAPPED.format("OOM command not allowed when used memory"), "is full (maxmemory)"),
]


def parsed(answer: str) -> Exception:
    """Return what redis-py makes of an error that a server sends."""
    made: Exception = BaseParser.parse_error(answer)  # type: ignore[no-untyped-call]
    return made


@pytest.mark.parametrize(("answer", "text"), SAID)
def test_a_refusal_has_our_text_and_the_server_s_own(answer: str, text: str) -> None:
    with pytest.raises(Denied) as caught, keydb.translating():
        raise parsed(answer)
    assert text in caught.value.detail
    assert answer.removeprefix("ERR ")[:100] in caught.value.detail


@pytest.mark.parametrize(
    "error", [TimeoutError(), RedisConnectionError("Connection closed by server.")]
)
def test_a_server_that_does_not_answer_has_refused_nothing(error: Exception) -> None:
    with pytest.raises(Unavailable) as caught, keydb.translating():
        raise error
    assert not isinstance(caught.value, Denied)


def test_a_server_without_room_for_one_more_client_says_so() -> None:
    with pytest.raises(Unavailable) as caught, keydb.translating():
        raise parsed("ERR max number of clients reached")
    assert caught.value.detail == "max number of clients reached"
