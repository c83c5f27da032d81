"""`python -m tools.settings` (`make settings`): writes docs/settings.md and .env.example.

Names, defaults, bounds and meanings come from the settings classes; what compose gives them
instead, from compose.yaml. The upper part of .env.example, which is about compose, is kept.
"""

import importlib
import pkgutil
import re
import sys
import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Le
from pydantic import Secret
from pydantic.fields import FieldInfo

from shared import program, settings

ROOT = Path(__file__).parents[1]
EXAMPLE, TABLES = ROOT / ".env.example", ROOT / "docs" / "settings.md"
LINE_MAX = 100
PROGRAMS = {
    "migrate": "migrations", "ingest": "services.ingest", "ticker": "services.ticker",
    "syncer": "services.syncer", "feed": "services.feed", "notifier": "services.notifier",
    "tracker": "services.tracker", "gateway": "services.gateway",
    "observer": "services.observer",
    "ops": "ops",
}  # fmt: skip
"""Whose settings there are, by the name that compose has for them: packages."""
GROUPS: Mapping[str, str | tuple[type[settings.Settings], ...]] = {
    "Servers": (settings.PostgresSettings, settings.RabbitmqSettings, settings.KeydbSettings),
    "All programs": (settings.ServiceSettings, settings.TickSettings),
    "Ingest": "ingest", "Syncer": "syncer", "Feed": "feed", "Notifier": "notifier",
    "Tracker": "tracker",
    "Gateway": "gateway", "Observer": "observer",
    "Migrations": "migrate", "The operator's tool": "ops",
}  # fmt: skip
"""Headings, and the classes or the program whose settings are below: each where it is first."""
MARK = "# === By `make settings`, from the settings classes: not by hand ==="
FILES = (
    "a folder with a file per setting, named like it in lower case (postgres_dsn); for services"
    " without compose, or with a compose file of yours that mounts it"
)
INTRODUCTION = """\
# Settings

Written by `make settings` from the settings classes: not by hand.

From the environment, or from a file named like the setting in lower case in the folder
`SECRETS_DIR`. `python -m services.ingest --help` and its like show the same. A program ends with
exit code 2, and one line for each setting that is missing or wrong. Compose's own settings (ports,
images, credentials) are in [.env.example](../.env.example), with the defaults that compose gives to
those here.
"""

Classes = Mapping[str, list[type[settings.Settings]]]


@dataclass(frozen=True)
class Setting:
    """One setting, and its default in each program that reads it."""

    name: str
    field: FieldInfo
    defaults: Mapping[str, str]

    @property
    def default(self) -> str:
        """One default for all, or which program has which."""
        if len(set(self.defaults.values())) == 1:
            return next(iter(self.defaults.values()))
        return ", ".join(f"{program}: {value}" for program, value in self.defaults.items())

    @property
    def allowed(self) -> str:
        """The choices there are, or the bounds of a number."""
        if get_origin(self.field.annotation) is Literal:
            return ", ".join(one for one in get_args(self.field.annotation) if one)
        lowest = [str(one.ge) for one in self.field.metadata if isinstance(one, Ge)]
        highest = [str(one.le) for one in self.field.metadata if isinstance(one, Le)]
        return " to ".join(lowest + highest)


def groups() -> Iterator[tuple[str, list[Setting]]]:
    """Yield each heading with its settings; no setting twice."""
    classes = {program: classes_of(package) for program, package in PROGRAMS.items()}
    seen: set[str] = set()
    for heading, whose in GROUPS.items():
        of_group = classes[whose] if isinstance(whose, str) else whose
        fields = {name: field for one in of_group for name, field in one.model_fields.items()}
        new = [name for name in fields if name not in seen]
        seen.update(new)
        yield heading, [Setting(one.upper(), fields[one], _defaults(one, classes)) for one in new]


def tables() -> str:
    """Return docs/settings.md."""
    parts = [INTRODUCTION]
    for heading, found in groups():
        rows = [
            f"| `{one.name}` | {one.default or 'none'} | {one.allowed} | {', '.join(one.defaults)}"
            f" | {one.field.description} |\n"
            for one in found
        ]
        head = "| setting | default | allowed | who reads it | meaning |\n|---|---|---|---|---|\n"
        parts.append(f"## {heading}\n\n{head}{''.join(rows)}")
    return "\n".join([*parts, f"`SECRETS_DIR` (none by default): {FILES}.\n"])


def example(now: str, compose: str) -> str:
    """Return .env.example with its lower part renewed; `now` and `compose` are the files' texts."""
    in_compose = dict(re.findall(r"\$\{([A-Z_]+):-([^${}]*)\}", compose))
    lines = [now.partition(MARK)[0] + MARK]
    for heading, found in groups():
        lines += ["", f"# --- {heading} ---", ""]
        for one in found:
            allowed = f" [{one.allowed}]" if one.allowed else ""
            lines += _comment(f"{one.field.description}{allowed}")
            default = next(iter(one.defaults.values()))
            shown = in_compose.get(one.name, next(iter(one.field.examples or []), default))
            lines.append(f"#{one.name}={shown}")
    lines += ["", "# --- Instead of the environment ---", "", *_comment(FILES)]
    return "\n".join([*lines, "#SECRETS_DIR=/run/secrets", ""])


ABOUT = "Writes docs/settings.md and .env.example, from the settings classes and compose.yaml."


@program.command(ABOUT)
def command() -> int:
    """Write both files; return the exit code."""
    compose = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    EXAMPLE.write_text(example(EXAMPLE.read_text(encoding="utf-8"), compose), encoding="utf-8")
    TABLES.write_text(tables(), encoding="utf-8")
    return 0


def classes_of(package: str) -> list[type[settings.Settings]]:
    """Return the settings classes of a program, by its package."""
    for one in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
        importlib.import_module(one.name)
    found = [cls for cls in _below(settings.Settings) if cls.__module__.startswith(f"{package}.")]
    return sorted(found, key=lambda one: (one.__module__, one.__name__))  # not as imported


def _below(cls: type[settings.Settings]) -> list[type[settings.Settings]]:
    below = cls.__subclasses__()
    return list(dict.fromkeys([*below, *(lower for one in below for lower in _below(one))]))


def _defaults(name: str, classes: Classes) -> dict[str, str]:
    return {
        program: _default(one.model_fields[name])
        for program, found in classes.items()
        for one in reversed(found)
        if name in one.model_fields
    }


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value: Any = field.default
    return str(value.get_secret_value() if isinstance(value, Secret) else value)


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text, LINE_MAX, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False
    )


if __name__ == "__main__":
    sys.exit(program.execute(command, "tools.settings"))
