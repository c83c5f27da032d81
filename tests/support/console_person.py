"""A person at the console: signs in, fills in forms, and sees what is said."""

import html
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx

from tests.support import console_page
from tests.support.console_page import patiently, text_of

PASSWORD = "open sesame"
FIELD = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)">')
AREA = re.compile(r'<textarea[^>]* name="(\w+)"[^>]*>\n?(.*?)</textarea>', re.DOTALL)


@dataclass(frozen=True)
class Person:
    """Somebody who is signed in under `name`."""

    client: httpx.Client
    name: str

    def form(self, path: str, action: str) -> dict[str, str]:
        """Return the fields of the page's first form of `action`, as a browser would send them."""
        return fields(self.get(path).text, action)

    def get(self, path: str) -> httpx.Response:
        """Ask for a page; again if a busy machine was too slow for it."""
        return patiently(lambda: self.client.get(path))

    def send(self, path: str, **form: str) -> httpx.Response:
        """Send a form; again if a busy machine was too slow for it."""
        return patiently(lambda: self.client.post(path, data=form))

    def confirm(self, answer: httpx.Response, path: str) -> httpx.Response:
        """Do what was tried."""
        answer.raise_for_status()
        return self.send(path, **fields(answer.text, path), confirmed="yes")


def fields(page: str, action: str) -> dict[str, str]:
    """Return what the form of `action` that posts has in its hidden fields and areas of text."""
    (form, *_) = re.findall(
        rf'<form[^>]* action="{action}" method="post">.*?</form>', page, re.DOTALL
    )
    found = [*FIELD.findall(form), *AREA.findall(form)]
    return {name: html.unescape(value) for name, value in found}


@contextmanager
def signed_in(environment: dict[str, str], name: str = "Ada") -> Iterator[Person]:
    """Run a console that may change things while inside, with somebody signed in."""
    given = {"CONSOLE_WRITES": "on", "CONSOLE_PASSWORD": PASSWORD}
    with console_page.running(environment, **given) as console:
        person = Person(console.client, name)
        form = person.form("/sign-in", "/sign-in")
        answer = person.send("/sign-in", **form, name=name, password=PASSWORD)
        assert answer.status_code == 303
        yield person


def said(answer: httpx.Response, element: str) -> str:
    """Return what an element of an answer says."""
    return text_of(answer.text, element)
