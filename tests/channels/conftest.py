"""What the tests of the channels share: a town, and browsers to visit it with."""

import shutil
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, async_playwright

from caas.billing_database.connection import Database
from tests.channels.town import Town, founded

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)


@pytest.fixture
async def town(database: Database) -> AsyncIterator[Town]:
    """A town of the test's own."""
    async with founded(database) as built:
        yield built


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One Chromium for all tests; every test opens windows of its own."""
    assert CHROMIUM, "these tests need Chromium: apt install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


@pytest.fixture
def window() -> dict[str, Any]:
    """A window as a Spanish customer's telephone has it."""
    return {"locale": "es-ES", "viewport": {"width": 390, "height": 844}}
