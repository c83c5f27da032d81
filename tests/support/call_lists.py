"""What docs/architecture.md lists of the functions that one message and one tick pass."""

import contextlib
import re
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from tests.support.containers import ROOT

DOCUMENT = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LINE = re.compile(r"^(?:\d+\.|-) `([\w/.]+):([\w.]+)`", re.MULTILINE)
NUMBERED = re.compile(r"^\d+\. `([\w/.]+):([\w.]+)`", re.MULTILINE)
FOLDERS = ("services/", "shared/")
LEFT_OUT = re.compile(
    r"shared/(amqp/.*|health|tracing|postgres|keydb|limited_connection|session_settings)\.py"
    r"|.*/metrics\.py"
)
"""The library, what only observes, and what translates errors."""

Calls = set[tuple[str, str]]
"""File and function of each."""


def section(heading: str) -> str:
    """Return the text below a heading."""
    return DOCUMENT.partition(f"\n### {heading}\n")[2].partition("\n##")[0]


def counted(heading: str) -> list[tuple[str, str]]:
    """Return file and function of each numbered line of a list."""
    return NUMBERED.findall(section(heading))


def listed(heading: str) -> Calls:
    """Return all functions of a list, but for those of Lua."""
    return {one for one in LINE.findall(section(heading)) if one[0].endswith(".py")}


@contextlib.contextmanager
def noted() -> Iterator[Calls]:
    """Note which functions of ours are called inside, by this thread and by those it starts."""
    calls: Calls = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        file = frame.f_code.co_filename.removeprefix(f"{ROOT}/")
        name = frame.f_code.co_qualname.replace(".<locals>", "")
        is_ours = file.startswith(FOLDERS) and not LEFT_OUT.fullmatch(file)
        if event == "call" and is_ours and "<" not in name:
            calls.add((file, name))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
