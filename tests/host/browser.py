"""A real browser for the pages that runs leave."""

import shutil
from contextlib import contextmanager

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium")
PATIENCE = 300_000
"""milliseconds for which the browser is waited for, on a busy machine, too"""
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(name="browser", scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    with sync_playwright() as tools:
        opened = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        yield opened
        opened.close()


def new_page(browser, **options):
    """A page that waits for what it is asked to wait for, however long the machine takes."""
    opened = browser.new_page(**options)
    opened.set_default_timeout(PATIENCE)
    return opened


@contextmanager
def silent(browser, path, width, height):
    """A file in the browser; at its end nothing has gone wrong, and nothing was asked for."""
    opened = new_page(browser, viewport={"width": width, "height": height})
    said, asked = [], []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    address = path.as_uri()
    opened.goto(address)
    yield opened
    opened.close()
    assert (said, asked) == ([], [address])
