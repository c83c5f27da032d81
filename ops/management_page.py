"""The broker's management page: what of RabbitMQ no AMQP connection can ask for."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from ops import direct_http
from ops.deployment import DeploymentSettings
from shared.errors import Unavailable

ASK_TIMEOUT_S = 5.0


class Page:
    """The broker's management page."""

    def __init__(self, chosen: DeploymentSettings, timeout_s: float = ASK_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        parts = urlsplit(chosen.rabbitmq_management_url.get_secret_value())
        login = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        self._login = base64.b64encode(login.encode()).decode()
        self._base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"
        vhost = urlsplit(chosen.rabbitmq_url.get_secret_value()).path[1:]
        self._host = quote(unquote(vhost) or "/", safe="")

    def queue(self, name: str, query: str = "") -> Mapping[str, Any]:
        """Return what it knows of a queue; `query` asks for samples of the past."""
        path = f"queues/{self._host}/{quote(name, safe='')}?{query}"
        found: Mapping[str, Any] = self.get(path.rstrip("?"))
        return found

    def queues(self, columns: str) -> list[Mapping[str, Any]]:
        """Return these columns of all queues of the virtual host."""
        found: list[Mapping[str, Any]] = self.get(f"queues/{self._host}?columns={columns}")
        return found

    def bound(self, exchange: str) -> dict[str, str]:
        """Return the queues bound to an exchange, and by which routing key (one of each).

        Raises `Unavailable` where there is none.
        """
        path = f"exchanges/{self._host}/{quote(exchange, safe='')}"
        self.get(path)
        found = self.get(f"{path}/bindings/source")
        return {
            one["destination"]: one["routing_key"]
            for one in found
            if one["destination_type"] == "queue"
        }

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask; raises `Unavailable` with what it answered instead."""
        request = urllib.request.Request(  # noqa: S310 - http or https, checked by the setting
            f"{self._base}/api/{path}", headers={"Authorization": f"Basic {self._login}"}
        )
        try:
            with direct_http.ask(request, timeout_s=self._timeout_s) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            why = ", its refusal of the login" if error.code == HTTPStatus.UNAUTHORIZED else ""
            raise Unavailable("rabbitmq", f"it answers {error.code}{why}, to {path}") from error
        except (OSError, ValueError) as error:
            raise Unavailable("rabbitmq", f"no answer: {type(error).__name__}") from error
