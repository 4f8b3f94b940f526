"""Makes the pictures of docs/screenshots: `python -m tests.console.screenshots`.

A town is founded over a database of its own, people live in it, and their pages are pictured, on a
telephone and at a desk, light and dark.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from playwright.async_api import Browser

from caas.billing_database import connection, migrations, self_check
from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.billing_database.embedded_postgresql import EmbeddedPostgresql
from caas.rules.order_states import OrderState
from caas.rules.payment_types import PaymentType
from tests.browser import started
from tests.console.journeys import ANA, DESK, OPERATIONS, PHONE, SALES, Visitor, visitor
from tests.console.town import STOCK, Town, eventually, founded
from tests.databases import named

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs" / "screenshots"
SHOWN: Final = frozenset(
    name
    for page in FOLDER.parent.glob("*.md")
    for name in re.findall(r"screenshots/([\w-]+\.png)", page.read_text("utf-8"))
)
PHONE_WIDTH_MAX: Final = 500
"""A telephone is pictured as it is held: its bar stays at the bottom of the screen."""


async def picture(who: Visitor, name: str, *, to_its_end: bool = True) -> None:
    """Picture a page, light and dark, where a document shows it; a long one as it is opened."""
    at_desk = (who.page.viewport_size or {"width": 0})["width"] > PHONE_WIDTH_MAX
    for scheme in ("light", "dark"):
        path = FOLDER / f"{name}-{scheme}.png"
        if path.name not in SHOWN:
            continue
        await who.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await who.page.screenshot(path=path, full_page=at_desk and to_its_end, scale="css")
    await who.page.emulate_media(color_scheme="light", reduced_motion="reduce")


async def intranet(town: Town, browser: Browser) -> UUID:
    """Picture what dealership sales see; return the order they made."""
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
    await town.order_is(order, OrderState.FACTORY_ORDER_PLACED)
    await sales.page.wait_for_selector("text=Enviado")
    await picture(sales, "intranet-order")
    await sales.go("/intranet")
    await picture(sales, "intranet-home")
    await sales.go("/messages")
    await picture(sales, "intranet-messages")
    return order


async def customer(town: Town, browser: Browser, order: UUID) -> None:
    """Picture what a customer sees, from the access link to a service in the car."""
    ana = await visitor(town, browser, **PHONE)
    await ana.page.goto(await town.access_link(ANA))
    await picture(ana, "access")
    await ana.opens_account()
    await ana.page.wait_for_selector("text=Pedido a fábrica")
    await picture(ana, "car-in-production")
    await town.vehicle_is_ready(order)
    await town.order_is(order, OrderState.READY)
    await ana.go(f"/car/{order}")
    await picture(ana, "car-ready")
    await ana.go(f"/car/{order}/final-payment")
    await picture(ana, "final-payment")
    await ana.goes_to_pay_the_rest(order)
    await ana.pays()
    await town.order_is(order, OrderState.DELIVERY_SCHEDULED)
    await ana.go(f"/car/{order}")
    await picture(ana, "car-delivery-scheduled")
    await town.delivery_is_completed(order)
    await town.order_is(order, OrderState.DELIVERED)
    await ana.go("/services")
    await picture(ana, "services")
    await ana.go("/services/heated-seats")
    await picture(ana, "service")
    await ana.goes_to_buy("heated-seats")
    await picture(ana, "gateway")
    await ana.pays()
    await ana.page.get_by_text("Su coche ha confirmado").wait_for()
    await picture(ana, "service-active")
    await ana.go("/subscribe/range-plus")
    await picture(ana, "subscribe")
    await ana.page.locator("#agreed").check()
    await ana.page.locator("main button.first").click()
    await ana.page.locator(".meter").wait_for()
    await picture(ana, "subscription")
    await ana.page.locator("#change-method").click()
    await picture(ana, "payment-method")
    for path in ("payments", "messages", "account"):
        await ana.go(f"/{path}")
        await picture(ana, path)
    await ana.go(f"/car/{order}")
    await picture(ana, "car-delivered")
    await ana.page.set_viewport_size({"width": 1280, "height": 860})
    await picture(ana, "car-delivered-desk")
    await ana.go("/services")
    await picture(ana, "services-desk")
    await ana.go("/offline")
    await picture(ana, "offline")


async def operations(town: Town, browser: Browser) -> None:
    """Picture what operations see: something is unknown, something differs, all is on record."""
    payments = await town.platform.tables.payments.listed()
    service = next(one for one in payments if one.type is PaymentType.SERVICE)
    await town.gateway_does(
        "lines", transaction_id="txn_stranger", reference="nobody", type="settlement", gross=60_000
    )
    await town.gateway_does("close-day")
    today, _ = await town.platform.reconciliation.days.today()
    await town.platform.reconciliation.reconcile(today)
    lost = await town.lost(STOCK[2][0], email="luz@example.com", deposit=60_000)
    await town.platform.invariant_monitor.begin()

    async def checked() -> bool | None:
        results = await self_check.last_checks(town.database)
        return all(it.checked_at is not None for it in results) or None

    await eventually(checked)
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    unknown = await town.reserved(STOCK[4][0], email="eva@example.com", name="Eva Gil")
    one = await visitor(town, browser, viewport={"width": 1280, "height": 1000})
    await one.sign_in(OPERATIONS)
    await one.page.locator(".tile.bad").first.wait_for()
    await picture(one, "operations-home")
    found = await town.platform.reconciliation.discrepancies.listed(
        DiscrepancyFilter(unresolved=True)
    )
    payment = (await town.platform.tables.payments.listed(subject=unknown))[0]
    for name, path in (
        ("payments", "payments"), ("payment-timeline", f"payments/{service.id}"),
        ("unknown-outcome", f"payments/{payment.id}"), ("unknown", "unknown"), ("cases", "cases"),
        ("deposit", f"cases/{lost.id}"),
        ("work", "work"), ("day", f"reconciliation/{today}"),
        ("discrepancy", f"discrepancies/{found[0].id}"), ("laws", "system"), ("keys", "keys"),
        ("simulators", "simulators"),
    ):  # fmt: skip
        await one.go(f"/operations/{path}")
        await picture(one, f"operations-{name}", to_its_end=False)
    await one.page.set_viewport_size({"width": 390, "height": 844})
    for name, path in (("home", ""), ("payment-timeline", f"/payments/{service.id}")):
        await one.go(f"/operations{path}")
        await picture(one, f"operations-{name}-phone")


@asynccontextmanager
async def visited() -> AsyncIterator[tuple[Town, Browser]]:
    """Found a town over a database of its own, and start a browser to visit it with."""
    with tempfile.TemporaryDirectory(prefix="caas-pictures-", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgresql()
        dsn = await server.start(Path(folder))
        try:
            admin = await asyncpg.connect(dsn)
            await admin.execute("create database pictures")
            await admin.close()
            await migrations.migrate(named(dsn, "pictures"))
            database = await connection.connect(named(dsn, "pictures"))
            async with founded(database) as town, started() as browser:
                yield town, browser
            await database.close()
        finally:
            await server.stop()


async def main() -> None:
    """Found a town, and picture it."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with visited() as (town, browser):
        order = await intranet(town, browser)
        await customer(town, browser, order)
        await operations(town, browser)


if __name__ == "__main__":
    asyncio.run(main())
