"""Pages for everybody: axe-core finds nothing, and a keyboard is enough."""

from axe_playwright_python.base import AXE_SCRIPT  # type: ignore[import-untyped]
from playwright.async_api import Browser, Page, expect

from caas.billing_database.accounts import Actor, Role
from caas.billing_database.discrepancies import DiscrepancyFilter
from caas.order_management.held_deposits import DepositDecision
from caas.rules.discrepancies import Resolution
from tests.console.belongings import ana_owns, path_of, whole_pages_of
from tests.console.journeys import (
    ANA,
    DESK,
    IN_EVERY_WINDOW,
    OPERATIONS,
    PHONE,
    SALES,
    SPANISH,
    Visitor,
    visitor,
)
from tests.console.test_second_factor import code_of
from tests.console.test_sign_in_throttle import slowed_to_the_limit
from tests.console.town import PASSWORD, STOCK, Town

EVERY_RULE: dict[str, object] = {"resultTypes": ["violations"]}
CONTRAST_ALONE = {**EVERY_RULE, "runOnly": {"type": "rule", "values": ["color-contrast"]}}
LIGHT, DARK = ("light", EVERY_RULE), ("dark", CONTRAST_ALONE)
LOOKS = (
    [(PHONE, [LIGHT, DARK]), (DESK, [LIGHT, DARK])]
    if IN_EVERY_WINDOW
    else [(PHONE, [LIGHT]), (DESK, [DARK])]
)
AXE_IS_HERE = "'axe' in window"
RUN_AXE = """
options => axe.run(options).then(({violations}) =>
  violations.map(({id, nodes}) => `${id} ${nodes[0].html.slice(0, 120)}`))
"""
TOO_WIDE = """
() => document.documentElement.scrollWidth <= innerWidth ? [] : [
  `${document.documentElement.scrollWidth - innerWidth} pixels`,
  ...[...document.querySelectorAll("main *")]
    .filter(it => it.getBoundingClientRect().right > innerWidth && !it.children.length)
    .map(it => it.outerHTML.slice(0, 120))].slice(0, 4)
"""
OPEN_TO_ALL = ("/", "/sign-in", "/forgotten", "/nowhere", "/access/no-such-link", "/offline")


async def violations(page: Page, options: dict[str, object]) -> list[str]:
    """Return which rules of axe-core the page breaks as it is shown, and where first."""
    if not await page.evaluate(AXE_IS_HERE):
        await page.evaluate(AXE_SCRIPT)
    broken: list[str] = await page.evaluate(RUN_AXE, options)
    return broken


async def faults_of(who: Visitor, path: str) -> list[str]:
    """Return what axe-core finds on a page, on a telephone and at a desk, light and dark."""
    await who.go(path)
    return await faults_here(who, path)


async def faults_here(who: Visitor, path: str) -> list[str]:
    """Return what axe-core finds on the page that is shown."""
    faults: list[str] = []
    for size, looks in LOOKS:
        await who.page.set_viewport_size(size["viewport"])
        for scheme, options in looks:
            await who.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
            found = await violations(who.page, options)
            faults += [f"{path} {scheme}: {violation}" for violation in found]
        faults += [f"{path}: too wide: {wide}" for wide in await who.page.evaluate(TOO_WIDE)]
    return faults


async def test_nothing_stands_in_anybodys_way_in_the_intranet(
    town: Town, chromium: Browser
) -> None:
    order = await town.reserved(STOCK[0][0], email=ANA)
    sales = await visitor(town, chromium)
    faults = [fault for path in OPEN_TO_ALL for fault in await faults_of(sales, path)]
    await sales.sign_in(SALES)
    waiting = await sales.reserves(STOCK[1][0])
    things = {"car": str(order), "service": str(order), "{vin}": STOCK[2][0]}
    paths = [path_of(route, things) for route in whole_pages_of(Role.SALES)]

    for path in (*paths, f"/intranet/orders/{waiting}", "/intranet/stock?show=all"):
        faults += await faults_of(sales, path)

    assert faults == []


async def test_nothing_stands_in_a_customers_way(town: Town, chromium: Browser) -> None:
    ana = await visitor(town, chromium)

    async def enter() -> None:
        link = (await town.access_link(ANA)).removeprefix(town.url)
        faults.extend(await faults_of(ana, link))
        await ana.opens_account()

    faults: list[str] = []
    things = await ana_owns(town, enter)
    ready = await town.reserved(STOCK[2][0], email=ANA)
    paths = [path_of(route, things) for route in whole_pages_of(Role.CUSTOMER)]

    for path in (*paths, f"/car/{ready}", f"/car/{ready}/final-payment",
                 f"/car/{ready}/withdrawal"):  # fmt: skip
        faults += await faults_of(ana, path)

    assert faults == []
    assert len(paths) > len(OPEN_TO_ALL)


async def test_nothing_stands_in_the_way_of_operations(town: Town, chromium: Browser) -> None:
    case = await town.lost(STOCK[2][0], email=ANA, deposit=60_000)
    await town.gateway_does("faults", match={"operation": "any"}, action={"status": 503})
    order = await town.reserved(STOCK[0][0], email=ANA)
    await town.gateway_does(
        "lines", transaction_id="txn_stranger", reference="nobody", type="settlement", gross=60_000
    )
    payment = (await town.platform.tables.payments.listed(subject=order))[0]
    engineer = await visitor(town, chromium)
    await engineer.sign_in(OPERATIONS)
    await town.platform.payment_processing.outcome_approval.propose(
        payment.id, note="No.", by=Actor("Luis")
    )
    faults = await faults_of(engineer, f"/operations/payments/{payment.id}")
    await expect(engineer.page.locator("#agree")).to_be_visible()
    await town.gateway_does("close-day")
    today, _ = await town.platform.reconciliation.days.today()
    async with town.http.delete(f"{town.gateway_url}/_control/faults"):
        await town.platform.reconciliation.reconcile(today)
    found = await town.platform.reconciliation.discrepancies.listed(
        DiscrepancyFilter(unresolved=True)
    )
    stranger = next(one for one in found if one.payment_id is None)
    things = {
        "car": "", "service": "", "{payment_id:uuid}": str(payment.id), "{day}": str(today),
        "{case_id:uuid}": str(case.id), "{discrepancy_id:uuid}": str(stranger.id),
    }  # fmt: skip
    paths = [path_of(route, things) for route in whole_pages_of(Role.OPERATIONS)]
    for path in (
        *paths, "/operations/payments?q=nothing", "/operations/jobs?show=paused",
        "/operations/cases?status=resolved", "/operations/discrepancies?show=resolved",
        "/operations/keys?refused=key_not_made", f"/operations/cases/{case.id}?done=1",
        "/intranet",
    ):  # fmt: skip
        faults += await faults_of(engineer, path)
    proposed = await town.platform.reconciliation.investigation.resolve(
        stranger.id, resolution=Resolution.CORRECT_BY_ENTRY, note="Seen.", by=Actor("Luis")
    )
    await town.platform.order_management.held_deposits.decide(
        case.subject, DepositDecision.KEEP, note="The contract.", by=Actor("Luis")
    )
    for waiting in (f"/operations/discrepancies/{stranger.id}", f"/operations/cases/{case.id}"):
        faults += await faults_of(engineer, waiting)
        await expect(engineer.page.get_by_text("Luis propone")).to_be_visible()

    assert faults == []
    assert proposed.status == "proposed"
    assert f"/operations/discrepancies/{stranger.id}" in paths


async def test_what_could_not_be_done_is_told_to_everybody(town: Town, chromium: Browser) -> None:
    sales, guesser = await visitor(town, chromium), await visitor(town, chromium)
    await slowed_to_the_limit(town, SALES)
    await guesser.go("/sign-in")
    await guesser.page.get_by_label(SPANISH.login).fill(SALES)
    await guesser.page.get_by_label(SPANISH.password).fill("guess")
    await guesser.press(SPANISH.enter)
    await expect(guesser.page.get_by_role("heading", name="Demasiados intentos")).to_be_visible()
    faults = await faults_here(guesser, "too many tries")

    await town.pass_time(15 * 60 + 1)
    await sales.sign_in(SALES)
    await town.as_owner("alter table caas.vehicles rename to vehicles_away")
    try:
        faults += await faults_of(sales, "/intranet/stock")
        failed = sales.page.get_by_role("heading", name="Se ha producido un error")
        await expect(failed).to_be_visible()
    finally:
        await town.as_owner("alter table caas.vehicles_away rename to vehicles")

    assert faults == []


async def test_a_second_factor_is_for_everybody_too(town: Town, chromium: Browser) -> None:
    one = await visitor(town, chromium, **PHONE)
    await one.sign_in(OPERATIONS)
    await one.go("/account")
    await one.page.locator("#second-factor button").click()
    secret = (await one.page.locator("#secret").inner_text()).replace(" ", "")
    faults = await faults_here(one, "set up")
    await one.page.locator("#code").fill("none")
    await one.page.locator("main form button.first").click()
    await expect(one.page.get_by_role("alert")).to_be_visible()
    faults += await faults_here(one, "a first code that is wrong")
    await one.page.locator("#code").fill(code_of(secret))
    await one.page.locator("main form button.first").click()
    await expect(one.page.locator("#recovery-codes")).to_be_visible()
    faults += await faults_here(one, "recovery codes")
    await one.context.clear_cookies()
    await one.sign_in(OPERATIONS)
    faults += await faults_here(one, "a code is asked for")
    await one.page.locator("#code").fill("none")
    await one.page.locator("main form button.first").click()
    await expect(one.page.get_by_role("alert")).to_be_visible()
    faults += await faults_here(one, "a code that is wrong")

    assert faults == []


async def test_a_service_order_is_for_everybody_too(town: Town, chromium: Browser) -> None:
    await town.delivered(STOCK[0][0], email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()
    await ana.goes_to_buy("heated-seats")
    await ana.pays()
    await expect(ana.page.get_by_role("heading", name="Activo en su coche")).to_be_visible()

    faults = await faults_of(ana, ana.page.url.removeprefix(town.url))

    assert faults == []


async def test_a_vehicle_is_reserved_with_the_keyboard_alone(town: Town, chromium: Browser) -> None:
    sales = await visitor(town, chromium)
    keyboard = sales.page.keyboard
    await sales.go(f"/intranet/stock/{STOCK[0][0]}/reserve")
    await keyboard.press("Tab")
    await expect(sales.page.get_by_text("Saltar al contenido")).to_be_focused()
    await keyboard.press("Enter")
    await keyboard.press("Tab")
    await keyboard.type(SALES)
    await keyboard.press("Tab")
    await keyboard.type(PASSWORD)
    await keyboard.press("Enter")
    await sales.page.wait_for_url("**/reserve")

    await sales.page.get_by_label(SPANISH.name).focus()
    language = country = ""
    street, postcode, city = "Calle Mayor 1", "28013", "Madrid"
    for text in ("Ana Ruiz", ANA, language, street, postcode, city, country, "12345678Z"):
        await keyboard.type(text)
        await keyboard.press("Tab")
    await keyboard.press("Enter")

    await sales.page.wait_for_url("**/intranet/orders/*")


async def test_what_changes_by_itself_is_said_aloud(town: Town, chromium: Browser) -> None:
    order = await town.reserved(STOCK[1][0], email=ANA)
    ana = await visitor(town, chromium, **PHONE)
    await ana.opens_account()

    await town.vehicle_is_ready(order)

    await expect(ana.page.locator("#announcer")).to_have_text("Su coche está listo")
