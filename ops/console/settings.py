"""What the console needs: the servers as `ops status` sees them, and who may change what."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, Secret, ValidationInfo

from ops import deployment
from shared import addresses, settings
from shared.alert import HistorySettings

PASSWORD_LENGTH_MIN = 8


def _valid_hosts(text: str) -> str:
    names = text.split()
    if not names or not all(addresses.is_host(one) for one in names):
        raise ValueError("not host names or addresses without ports, separated by spaces")
    return text


def _long_enough(password: Secret[str], info: ValidationInfo) -> Secret[str]:
    length = len(password.get_secret_value())
    if 0 < length < PASSWORD_LENGTH_MIN:
        raise ValueError(f"is to have {PASSWORD_LENGTH_MIN} characters or more")
    if not length and info.data.get("console_writes") == "on":
        raise ValueError("must be set where CONSOLE_WRITES is on")
    return password


class ConsoleSettings(
    deployment.DeploymentSettings,
    settings.BodySettings,
    settings.TracingSettings,
    settings.LogSettings,
    HistorySettings,
):
    """Where the console is reached, what it looks at, and whether it may change anything."""

    console_host: settings.MetricsHost = Field(
        default="127.0.0.1", description="address that the console is reached at"
    )
    console_port: int = Field(
        default=8081, ge=0, le=65535, description="port of the console; 0: any free one"
    )
    console_hosts: Annotated[str, AfterValidator(_valid_hosts)] = Field(
        default="127.0.0.1 localhost",
        description="names by which browsers may ask for it (the header Host), separated by spaces",
    )
    console_trusted_proxies: str = Field(
        default="",
        description="addresses or networks, separated by commas, whose X-Forwarded-For and"
        " X-Forwarded-Proto are believed; empty: nobody's",
    )
    console_writes: Literal["on", "off"] = Field(
        default="off",
        description="on: who signs in with CONSOLE_PASSWORD may replay and purge dead letters and"
        " add providers",
    )
    # After console_writes, which it is held against.
    console_password: Annotated[Secret[str], AfterValidator(_long_enough)] = Field(
        default=Secret(""),
        description="what one signs in with, beside one's own name, which is kept on record",
        validate_default=True,
    )

    @property
    def hosts(self) -> frozenset[str]:
        """The same names in lower case, IPv6 addresses without brackets."""
        return frozenset(one.strip("[]").lower() for one in self.console_hosts.split())

    @property
    def writes(self) -> bool:
        """Whether anything may be changed at all."""
        return self.console_writes == "on"
