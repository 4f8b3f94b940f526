"""Card data on the gateway's hosted page only (Security and Compliance, PCI-DSS; decision 24).

Rules a change must keep: the page is driven as a browser would, at the gateway's own address; the
platform never sees what is typed there.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from caas_lab.demo import cast, checks
from caas_lab.demo.calls import UnexpectedAnswerError
from caas_lab.demo.cast import DEPOSIT, Purchase
from caas_lab.demo.play import Play
from caas_lab.demo.story import PAYMENT_GATEWAY, Scene

ACCEPTED: Final = 202
RETURN_URL: Final = "https://dealer.example/thanks"
CARD: Final = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}


async def _opened(
    play: Play, seller: cast.Dealership, buyer: cast.Customer
) -> tuple[str, Purchase]:
    """Reserve without a payment method; return the vehicle and the purchase that is still open."""
    vin = await cast.vehicle_in_stock(play)
    return vin, await seller.reserves(vin, buyer, None, return_url=RETURN_URL)


async def _submitted(play: Play, payment_id: str, form: dict[str, str]) -> str:
    """Open the hosted page as a browser does and send its form; return where that leads.

    Raises:
        UnexpectedAnswerError: there is no page, or it does not lead anywhere.
    """
    url = (await play.payment(payment_id))["hosted_page_url"]
    async with play.stage.session.get(url) as page:
        shown = await page.text()
    async with play.stage.session.post(url, data=form, allow_redirects=False) as answer:
        if "<form" not in shown or answer.status != HTTPStatus.SEE_OTHER:
            raise UnexpectedAnswerError(f"the hosted page answered {answer.status}")
        return str(answer.headers["location"])


async def _paid(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    vin, bought = await _opened(play, seller, ana)
    before = await play.payment(bought.payment)

    play.step(ana.name, PAYMENT_GATEWAY, "enters her card on the gateway's hosted page")
    leads_to = await _submitted(play, bought.payment, {"action": "pay", **CARD})
    payment = await play.payment_is(bought.payment, "Capturing")
    order = await play.order_is(bought.order, "factory order placed")

    play.expect("the dealership is answered", ACCEPTED, bought.status)
    play.expect("the page is at the gateway's address", _host(play.stage.gateway.url),
                _host(before["hosted_page_url"]))  # fmt: skip
    play.expect("the customer is sent back to", RETURN_URL, leads_to)
    checks.expect_state(play, payment, "Capturing")
    checks.expect_money(play, payment, captured=DEPOSIT)
    play.expect("the order is", "factory order placed", order["state"])
    await checks.expect_vehicle(play, vin, "in production")
    await checks.expect_charges(play, bought.payment, 1)


async def _left(play: Play) -> None:
    ana, seller = await cast.customer(play, "Ana"), cast.dealership(play, "Autos Sol")
    vin, bought = await _opened(play, seller, ana)

    play.step(ana.name, PAYMENT_GATEWAY, "leaves the hosted page without paying")
    await _submitted(play, bought.payment, {"action": "leave"})
    payment = await play.payment_is(bought.payment, "Failed")

    checks.expect_state(play, payment, "Failed")
    play.expect("because", "abandoned", payment["decline_code"])
    await checks.expect_vehicle(play, vin, "sin asignar")
    await checks.expect_charges(play, bought.payment, 0)


def _host(url: str) -> str:
    return urlsplit(url).netloc


SCENES: Final = (
    Scene(
        name="hosted-page",
        title="The customer pays on the gateway's hosted page",
        rule="PCI-DSS Compliance: Payment form security; decision 24",
        tells="The reservation begins without any card. The customer enters it on the gateway's "
        "own page, and the platform learns only that the funds are held.",
        ends="reserved, no card seen",
        plays=_paid,
    ),
    Scene(
        name="hosted-page-left",
        title="The customer leaves the hosted page",
        rule="Diagram 9, Pending -> Failed; decision 24",
        tells="The page is left without paying. That is known at the gateway, so the payment fails "
        "and the vehicle was never blocked.",
        ends="failed, vehicle sin asignar",
        plays=_left,
    ),
)
