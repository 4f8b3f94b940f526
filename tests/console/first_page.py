"""How heavy the first page of each channel is, and how soon a slow telephone can use it.

`python -m tests.console.first_page` prints both. The telephone is Chromium's: 150 ms there and
back, 1.6 Mbit/s, a quarter of this machine's processor, and nothing kept from before. The weight is
what travelled, headers and compression included; `test_first_page` holds it to its limit.
"""

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import typer
from playwright.async_api import Browser, BrowserContext

from tests.console.journeys import ANA, OPERATIONS, PHONE, SALES, visitor
from tests.console.screenshots import visited
from tests.console.town import STOCK, Town

ROUNDS: Final = 5
SLOW: Final[dict[str, Any]] = {
    "offline": False, "latency": 150, "downloadThroughput": 200_000, "uploadThroughput": 93_750,
}  # fmt: skip
CPU_DIVIDED_BY: Final = 4
NEW_PHONE: Final[dict[str, Any]] = {**PHONE, "service_workers": "block"}
"""Without the service worker that a first look installs: it answers from what it keeps."""

TIMES: Final = """
() => ({
  painted: performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0,
  usable: performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
})
"""


@dataclass(frozen=True, slots=True)
class FirstPage:
    """What the first look at a page took; times in milliseconds."""

    bytes: int
    addresses: tuple[str, ...]
    painted: float
    usable: float


async def first_look(context: BrowserContext, url: str, *, slow: bool = False) -> FirstPage:
    """Open a page for the first time in this window, with nothing kept."""
    page = await context.new_page()
    chrome = await context.new_cdp_session(page)
    sizes: dict[str, int] = {}
    addresses: list[str] = []
    page.on("request", lambda asked: addresses.append(asked.url))
    chrome.on("Network.loadingFinished", lambda it: sizes.update({
        it["requestId"]: it["encodedDataLength"]}))  # fmt: skip
    await chrome.send("Network.enable")
    await chrome.send("Network.setCacheDisabled", {"cacheDisabled": True})
    if slow:
        await chrome.send("Network.emulateNetworkConditions", SLOW)
        await chrome.send("Emulation.setCPUThrottlingRate", {"rate": CPU_DIVIDED_BY})
    await page.goto(url, wait_until="networkidle")
    times = await page.evaluate(TIMES)
    await page.close()
    return FirstPage(sum(sizes.values()), tuple(addresses), times["painted"], times["usable"])


async def first_pages(town: Town, browser: Browser) -> dict[str, BrowserContext]:
    """Return the address at which each kind of person begins, and a window that may see it."""
    stranger, sales, ana, one = [await visitor(town, browser, **NEW_PHONE) for _ in range(4)]
    await town.delivered(STOCK[0][0], email=ANA)
    await ana.opens_account()
    await sales.sign_in(SALES)
    await one.sign_in(OPERATIONS)
    return {
        "/": stranger.context, "/sign-in": stranger.context, "/car": ana.context,
        "/services": ana.context, "/intranet": sales.context, "/operations": one.context,
    }  # fmt: skip


async def main() -> None:
    """Print a line for each first page."""
    async with visited() as (town, browser):
        typer.echo(f"{'page':<14}{'kB':>7}{'requests':>10}{'painted ms':>12}{'usable ms':>11}")
        for path, context in (await first_pages(town, browser)).items():
            looks = [await first_look(context, town.url + path, slow=True) for _ in range(ROUNDS)]
            painted, usable = (median(getattr(look, name) for look in looks)
                               for name in ("painted", "usable"))  # fmt: skip
            last = looks[-1]
            typer.echo(
                f"{path:<14}{last.bytes / 1000:>7.1f}{len(last.addresses):>10}{painted:>12.0f}"
                f"{usable:>11.0f}"
            )


if __name__ == "__main__":
    asyncio.run(main())
