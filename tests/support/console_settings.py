"""Settings of a console whose servers are nowhere."""

from ops.console.settings import ConsoleSettings

PASSWORD = "open sesame"
SERVERS = {
    "postgres_dsn": "postgresql://u:p@127.0.0.1:1/d",
    "rabbitmq_url": "amqp://u:p@127.0.0.1:1/%2F",
    "keydb_url": "redis://127.0.0.1:1/0",
}


def console_settings(**given: str) -> ConsoleSettings:
    """Return them, with what is given beside the password. Raises `ValueError`."""
    return ConsoleSettings.model_validate(SERVERS | {"console_password": PASSWORD} | given)
