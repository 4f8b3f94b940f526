"""Makes the pictures of docs/screenshots: `python -m tests.channels.screenshots`.

A town is founded over a database of its own, people live in it, and their pages are pictured, on a
telephone and at a desk, light and dark.
"""

import asyncio
import tempfile
from pathlib import Path
from typing import Final

import asyncpg
from playwright.async_api import Browser, async_playwright

from caas.billing_database import connection, migrations
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.rules.order_states import OrderState
from tests.channels.conftest import CHROMIUM
from tests.channels.journeys import DESK, SALES, Visitor, order_is, visitor
from tests.channels.town import STOCK, Town, founded
from tests.conftest import named

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screenshots"


async def picture(who: Visitor, name: str) -> None:
    """Picture the page as it is, light and dark."""
    for scheme in ("light", "dark"):
        await who.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        path = FOLDER / f"{name}-{scheme}.png"
        await who.page.screenshot(path=path, full_page=True)
    await who.page.emulate_media(color_scheme="light", reduced_motion="reduce")


async def intranet(town: Town, browser: Browser) -> None:
    """Picture what dealership sales see."""
    sales = await visitor(town, browser, **DESK)
    await sales.go("/")
    await picture(sales, "front")
    await sales.go("/sign-in")
    await picture(sales, "sign-in")
    await sales.sign_in(SALES)
    await sales.go("/intranet/stock")
    await picture(sales, "intranet-stock")
    await sales.go(f"/intranet/stock/{STOCK[3][0]}/reserve")
    await picture(sales, "intranet-reserve")
    order = await sales.reserves(STOCK[3][0])
    await sales.page.wait_for_selector(".qr")
    await picture(sales, "intranet-order-paying")
    await sales.page.get_by_text(sales.tongue.pay_here).click()
    await sales.pays()
    await order_is(town, order, OrderState.FACTORY_ORDER_PLACED)
    await sales.page.wait_for_selector("text=Enviado")
    await picture(sales, "intranet-order")
    await sales.go("/intranet")
    await picture(sales, "intranet-home")
    await sales.go("/messages")
    await picture(sales, "intranet-messages")


async def main() -> None:
    """Found a town, and picture it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="caas-pictures-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgresql()
        dsn = await server.start(Path(folder))
        try:
            admin = await asyncpg.connect(dsn)
            await admin.execute("create database pictures")
            await admin.close()
            await migrations.migrate(named(dsn, "pictures"))
            database = await connection.connect(named(dsn, "pictures"))
            async with founded(database) as town, async_playwright() as playwright:
                browser = await playwright.chromium.launch(
                    executable_path=CHROMIUM, args=["--no-sandbox"]
                )
                await intranet(town, browser)
                await browser.close()
            await database.close()
        finally:
            await server.stop()


if __name__ == "__main__":
    asyncio.run(main())
