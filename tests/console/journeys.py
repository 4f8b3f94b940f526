"""What people do in the channels, step by step in a browser, in either language.

Tests and screenshots share these steps; each returns where it has led.
"""

import os
from dataclasses import dataclass
from typing import Any, Final, Protocol
from uuid import UUID

from playwright.async_api import Browser, BrowserContext, Page

from tests.buyers import AT_HOME
from tests.console.town import PASSWORD

PHONE: Final[dict[str, Any]] = {
    "viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "has_touch": True,
}  # fmt: skip
DESK: Final[dict[str, Any]] = {"viewport": {"width": 1280, "height": 860}}
SALES: Final = "ventas@autos-sol.example"
OPERATIONS: Final = "operaciones@caas.example"
SECOND: Final = "operaciones.2@caas.example"
ANA: Final = "ana@example.com"
GOOD_CARD, DECLINED_CARD, POOR_CARD, ASKING_CARD = (
    "4242 4242 4242 4242", "4000 0000 0000 0002", "4000 0000 0000 9995", "4000 0025 0000 3155",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Tongue:
    """What buttons and fields are called in a language."""

    locale: str
    login: str
    password: str
    enter: str
    name: str
    email: str
    deposit: str
    reserve: str
    pay_here: str
    new_password: str
    save: str
    card: str
    expiry: str
    cvc: str
    leave: str


SPANISH: Final = Tongue(
    "es-ES", "Correo electrónico o usuario", "Contraseña", "Iniciar sesión", "Nombre y apellidos",
    "Correo electrónico", "Señal", "Reservar y solicitar la señal", "Pagar en este equipo",
    "Contraseña nueva", "Guardar e iniciar sesión", "Número de tarjeta", "Caducidad", "Código CVC",
    "Salir sin pagar",
)  # fmt: skip
ENGLISH: Final = Tongue(
    "en-GB", "Email address or user name", "Password", "Sign in", "Full name", "Email address",
    "Deposit", "Reserve and request deposit", "Pay on this computer", "New password",
    "Save and sign in", "Card number", "Expiry", "CVC", "Leave without paying",
)  # fmt: skip


IN_EVERY_WINDOW: Final = os.environ.get("CAAS_BROWSER") == "all"
"""Set by `make browser`: otherwise each journey is made in one language and window."""


def windows(*ways: tuple[Any, ...]) -> tuple[tuple[Any, ...], ...]:
    """Return the ways in which a journey is made: the first, or all of them (`make browser`)."""
    return ways if IN_EVERY_WINDOW else ways[:1]


class Place(Protocol):
    """Where there is a platform to visit, and letters that come with access links."""

    @property
    def url(self) -> str:
        """Where its pages are."""

    async def access_link(self, email: str) -> str:
        """Wait for the link of the access credentials that was sent to somebody."""


@dataclass(slots=True)
class Visitor:
    """Somebody with a browser of their own."""

    town: Place
    context: BrowserContext
    page: Page
    tongue: Tongue
    complaints: list[str]

    async def go(self, path: str) -> None:
        await self.page.goto(self.town.url + path)

    async def press(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def sign_in(self, login: str, password: str = PASSWORD) -> None:
        await self.go("/sign-in")
        await self.page.get_by_label(self.tongue.login).fill(login)
        await self.page.get_by_label(self.tongue.password).fill(password)
        await self.press(self.tongue.enter)
        await self.page.wait_for_url(lambda url: "/sign-in" not in url)

    async def reserves(self, vin: str, *, email: str = ANA, name: str = "Ana Ruiz") -> UUID:
        """Fill in the form for a vehicle and send it; return the order."""
        await self.go(f"/intranet/stock/{vin}/reserve")
        await self.page.get_by_label(self.tongue.name).fill(name)
        await self.page.get_by_label(self.tongue.email).fill(email)
        await self.says_where_they_are()
        await self.press(self.tongue.reserve)
        await self.page.wait_for_url("**/intranet/orders/*")
        return UUID(self.page.url.rsplit("/", 1)[1])

    async def says_where_they_are(self) -> None:
        """Fill in what the invoice of a vehicle needs of its buyer."""
        for name, text in AT_HOME.items():
            await self.page.locator(f"input[name={name}]").fill(text)

    async def pays(self, card: str = GOOD_CARD, *, confirm: bool = False) -> None:
        """Fill in the gateway's page, which is open, confirm if the bank asks, and come back."""
        await self.page.get_by_label(self.tongue.card).fill(card)
        await self.page.get_by_label(self.tongue.expiry).fill("12/39")
        await self.page.get_by_label(self.tongue.cvc).fill("123")
        await self.page.locator("button.first").click()
        if confirm:
            await self.page.locator("button[value=confirm]").click()
        await self.page.wait_for_url(
            lambda url: url.startswith(self.town.url) and "/returned/" not in url
        )

    async def goes_to_pay_the_rest(self, order_id: UUID) -> None:
        """Read what a declined final payment costs, accept it, and go to the gateway's page."""
        await self.go(f"/car/{order_id}/final-payment")
        await self.page.locator("#understood").check()
        await self.page.locator("main button.first").click()
        await self.page.wait_for_url("**/pay/*")
        await self.page.get_by_label(self.tongue.card).wait_for()

    async def goes_to_buy(self, code: str) -> None:
        """Choose a service for its shortest duration, and go to the gateway's page."""
        await self.go(f"/services/{code}")
        await self.page.locator("main button.first").click()
        await self.page.get_by_label(self.tongue.card).wait_for()

    async def opens_account(self, email: str = ANA) -> None:
        """Open the link of the access credentials and choose a password."""
        await self.page.goto(await self.town.access_link(email))
        await self.page.get_by_label(self.tongue.new_password).fill(PASSWORD)
        await self.press(self.tongue.save)
        await self.page.wait_for_url("**/car/*")


async def visitor(
    town: Place, browser: Browser, tongue: Tongue = SPANISH, **window: Any
) -> Visitor:
    """Open a browser window as somebody has it; what it complains of is written down."""
    context = await browser.new_context(
        locale=tongue.locale, reduced_motion="reduce", **(window or DESK)
    )
    page = await context.new_page()
    complaints: list[str] = []
    page.on(
        "console",
        lambda reported: (
            complaints.append(reported.text) if reported.type in {"error", "warning"} else None
        ),
    )
    page.on("pageerror", lambda error: complaints.append(str(error)))
    return Visitor(town, context, page, tongue, complaints)
