"""The browser that tests and screenshots start: the one without a screen, where there is one."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright, expect

from bootstrap.system_programs import PROGRAMS

PATIENCE_MS = 120_000
"""How long a page may take to show what must come, beside whatever else the machine does."""
expect.set_options(timeout=PATIENCE_MS)

CHROMIUM = next(filter(None, map(shutil.which, PROGRAMS["chromium"])), None)


@asynccontextmanager
async def started() -> AsyncIterator[Browser]:
    """Start Chromium and close it afterwards; without a screen, its GPU process only costs time."""
    assert CHROMIUM, "these tests need Chromium: apt install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"]
        )
        yield browser
        await browser.close()
