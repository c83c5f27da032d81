"""A real browser for the console's pages: the distribution's Chromium, driven by Playwright."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.support import node_packages
from tests.support.containers import ROOT

FETCH_TIMEOUT_S = 240.0
TIMEOUT_MS = 30_000
AXE = ROOT / "tests" / "support" / "axe"
SERIOUS = ("serious", "critical")
expect.set_options(timeout=TIMEOUT_MS)
COMPLAINTS = ("Content Security Policy", "status of 404", "status of 500")
"""What a browser must not say. Of a connection that a busy machine was too slow for it may."""
SIZES = {"wide": (1440, 1000), "narrow": (390, 844)}


def path() -> str:
    """Return where it is; where it cannot be had skip on a laptop, fail where `CI` is set."""
    done = subprocess.run(
        [str(ROOT / "deploy" / "airgap" / "chromium.sh")],
        capture_output=True,
        check=False,
        text=True,
        timeout=FETCH_TIMEOUT_S,
    )
    if done.returncode:
        message = done.stderr.strip()
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return done.stdout.splitlines()[-1]


@contextlib.contextmanager
def running() -> Iterator[Browser]:
    """Run it while inside."""
    executable = path()
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


@contextlib.contextmanager
def window(browser: Browser, base: str, size: str = "wide", **options: Any) -> Iterator[Window]:
    """Open a window with cookies of its own while inside; the browser must not complain of it.

    What it complains of: what the policy forbids, what is not there, and errors of our scripts.
    """
    width, height = SIZES[size]
    context = browser.new_context(
        base_url=base, viewport={"width": width, "height": height}, **options
    )
    context.set_default_timeout(TIMEOUT_MS)
    opened = Window(context.new_page())

    def heard(message: ConsoleMessage) -> None:
        if any(one in message.text for one in COMPLAINTS):
            opened.complaints.append(message.text)

    opened.page.on("console", heard)
    opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
    try:
        yield opened
    finally:
        context.close()
    assert opened.complaints == [], f"the browser complains: {opened.complaints}"


def violations(page: Page) -> list[str]:
    """Return what axe finds seriously wrong for those who cannot see or point."""
    source = node_packages.installed(AXE) / "node_modules" / "axe-core" / "axe.min.js"
    # By the debugger, which the page's policy does not bind.
    page.evaluate(f"{Path(source).read_text(encoding='utf-8')}; 0")
    found = page.evaluate("axe.run({resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]
