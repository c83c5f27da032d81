"""A real browser for the console's pages: the distribution's Chromium, driven by Playwright."""

import contextlib
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support import node_packages, tools
from tests.support.containers import ROOT

log = logging.getLogger(__name__)
TIMEOUT_MS = 30_000
AXE = ROOT / "tests" / "support" / "axe"
SERIOUS = ("serious", "critical")
expect.set_options(timeout=TIMEOUT_MS)
COMPLAINTS = ("error", "warning")
"""Kinds of what a browser says that it must not say."""
EXCUSED = re.compile(
    r"Failed to load resource: (net::ERR_(CONNECTION_|EMPTY_RESPONSE|INCOMPLETE_CHUNKED|NETWORK_)"
    r"|the server responded with a status of 503)"
    r"|\[object Event\] at \S+/htmx\.min\.js"
)
"""Of a connection that was cut, or an answer that a busy machine was too slow for, it may."""
SIZES = {"wide": (1440, 1000), "narrow": (390, 844)}


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Run it while inside."""
    executable = tools.path("chromium.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable)
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Window:
    """One page, and what the browser complained of meanwhile."""

    page: Page
    complaints: list[str] = field(default_factory=list)

    def heard(self, message: ConsoleMessage) -> None:
        """Take in a line of the browser's console."""
        if message.type in COMPLAINTS:
            at = message.location
            where = f"{at.get('url')}:{at.get('lineNumber')}"
            self.complain(f"{message.type}: {message.text} at {where}")

    def complain(self, what: str) -> None:
        """Print what the browser complains of, and keep it unless it is excused."""
        log.warning("the browser, of %s: %s", self.page.url, what)
        if not EXCUSED.search(what):
            self.complaints.append(what)


@contextlib.contextmanager
def window(browser: Browser, base: str, size: str = "wide", **options: Any) -> Iterator[Window]:
    """Open a window with cookies of its own while inside; the browser must not complain of it.

    What it complains of: what the policy forbids, what is not there, errors of our scripts, and
    whatever else it calls an error or a warning. All of it is printed.
    """
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=base, viewport={"width": width, "height": height}, **options
    )
    context.set_default_timeout(TIMEOUT_MS)
    opened = Window(context.new_page())

    opened.page.on("console", opened.heard)
    opened.page.on("pageerror", lambda error: opened.complain(f"{error}\n{error.stack}"))
    try:
        yield opened
    finally:
        context.close()
    assert opened.complaints == [], "the browser complains:\n" + "\n".join(opened.complaints)


def violations(page: Page) -> list[str]:
    """Return what axe finds seriously wrong for those who cannot see or point."""
    source = node_packages.installed(AXE) / "node_modules" / "axe-core" / "axe.min.js"
    if not page.evaluate("'axe' in window"):
        # By the debugger, which the page's policy does not bind.
        page.evaluate(f"{Path(source).read_text(encoding='utf-8')}; 0")
    # Nothing is loaded again for it: what then failed would be written into the page.
    found = page.evaluate("axe.run({resultTypes: ['violations'], preload: false})")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
