"""What the tests of the channels share: a town, and browsers to visit it with."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser

from caas.billing_database.connection import Database
from tests import browser
from tests.console.town import Town, founded


@pytest.fixture
async def town(database: Database) -> AsyncIterator[Town]:
    """A town of the test's own."""
    async with founded(database) as built:
        yield built


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """One Chromium for all tests; every test opens windows of its own."""
    async with browser.started() as started:
        yield started


@pytest.fixture
def window() -> dict[str, Any]:
    """A window as a Spanish customer's telephone has it."""
    return {"locale": "es-ES", "viewport": {"width": 390, "height": 844}}
