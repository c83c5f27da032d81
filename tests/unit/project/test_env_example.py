"""`.env.example` names every setting there is, and none that is not."""

import importlib
import pkgutil
import re

from pydantic_core import PydanticUndefined

from migrations.rights import GROUPS
from shared.settings import Settings
from tests.support.containers import ROOT

SERVICES = (
    "services.ingest", "services.ticker", "services.syncer", "services.feed", "services.notifier",
    "services.tracker", "services.gateway", "services.observer",
)  # fmt: skip
PROGRAMS = ("migrations", *SERVICES, "ops")
FIXED = re.compile(r"METRICS_(HOST|PORT)|GATEWAY_HOST|(RABBITMQ|KEYDB)_(CA|CERT|KEY)_FILE")
"""What compose decides for a service, and files of servers that are not compose's own."""
ELSEWHERE = {"SECRETS_DIR"}
"""Settings that no class has: where `shared.settings` looks for the others."""

COMPOSE = "\n".join(
    line
    for line in (ROOT / "compose.yaml").read_text().splitlines()
    if not line.lstrip().startswith("#")
)
EXAMPLE = (ROOT / ".env.example").read_text()
DEFAULTS = dict(re.findall(r"^#?([A-Z][A-Z_]*)=(.*)$", EXAMPLE, re.MULTILINE))


def classes_below(cls: type[Settings]) -> set[type[Settings]]:
    below = set(cls.__subclasses__())
    return below.union(*(classes_below(one) for one in below))


def classes() -> list[type[Settings]]:
    for program in PROGRAMS:
        package = importlib.import_module(program)
        for one in pkgutil.walk_packages(package.__path__, f"{program}."):
            importlib.import_module(one.name)
    # Settings made up by other tests of the same run do not count.
    return [cls for cls in classes_below(Settings) if not cls.__module__.startswith("test")]


def in_code() -> dict[str, object]:
    return {
        name.upper(): field.default for cls in classes() for name, field in cls.model_fields.items()
    }


def in_compose() -> set[str]:
    return set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))


def test_every_setting_of_the_programs_is_in_the_example() -> None:
    assert set(in_code()) | ELSEWHERE <= set(DEFAULTS)


def test_every_setting_of_compose_is_in_the_example() -> None:
    assert in_compose() <= set(DEFAULTS)


def test_compose_passes_on_whatever_a_service_reads() -> None:
    read = {
        name.upper()
        for cls in classes()
        if cls.__module__.startswith(SERVICES)
        for name in cls.model_fields
    }
    assert {one for one in read - in_compose() if not FIXED.fullmatch(one)} == set()


def test_every_name_in_the_example_exists_in_code_or_compose() -> None:
    assert set(DEFAULTS) - set(in_code()) - in_compose() == ELSEWHERE
    assert all(name in (ROOT / "shared" / "settings.py").read_text() for name in ELSEWHERE)


def test_no_name_is_in_the_example_twice() -> None:
    names = re.findall(r"^#?([A-Z][A-Z_]*)=", EXAMPLE, re.MULTILINE)

    assert len(names) == len(set(names))


def test_the_example_sets_nothing_as_it_is() -> None:
    assert re.findall(r"^[^#\n].*", EXAMPLE, re.MULTILINE) == []


def test_the_defaults_shown_are_those_of_compose() -> None:
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^${}]*)\}", COMPOSE))

    assert {name: DEFAULTS[name] for name in defaults} == defaults


def test_compose_and_code_agree_about_the_defaults_that_both_have() -> None:
    # json there: nobody watches a container's terminal; and there the addresses are known.
    only_in_compose = {"LOG_FORMAT", "RABBITMQ_MANAGEMENT_URL", "OPS_SERVICES"}
    # Nor are passwords and logins made up for servers that are not the stack's.
    only_in_compose |= {f"POSTGRES_{login.upper()}_PASSWORD" for login in GROUPS}
    code = {
        name: str(default)
        for name, default in in_code().items()
        if default is not PydanticUndefined and name in in_compose() - only_in_compose
    }

    assert {name: DEFAULTS[name] for name in code} == code
