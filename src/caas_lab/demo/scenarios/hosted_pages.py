"""Card data on the gateway's hosted page only (Security and Compliance, PCI-DSS; decision 24).

Rule a change must keep: the page is used as a browser would use it, at the gateway's own address.
"""

from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from caas_lab.demo import checks, fixtures
from caas_lab.demo.fixtures import DEPOSIT, Purchase
from caas_lab.demo.http_client import UnexpectedAnswerError
from caas_lab.demo.scenario import PAYMENT_GATEWAY, Scenario
from caas_lab.demo.scenario_run import ScenarioRun

ACCEPTED: Final = 202
RETURN_URL: Final = "https://dealer.example/thanks"
CARD: Final = {"number": "4242 4242 4242 4242", "expiry": "12/39", "cvc": "123"}


async def _opened(
    run: ScenarioRun, seller: fixtures.Dealership, buyer: fixtures.Customer
) -> tuple[str, Purchase]:
    """Reserve without a payment method; return the vehicle and the pending purchase."""
    vin = await fixtures.vehicle_in_stock(run)
    return vin, await seller.reserve(vin, buyer, None, return_url=RETURN_URL)


async def _submitted(run: ScenarioRun, payment_id: str, form: dict[str, str]) -> str:
    """Open the hosted page as a browser does and send its form; return where that leads.

    Raises:
        UnexpectedAnswerError: there is no page, or it does not lead anywhere.
    """
    url = (await run.payment(payment_id))["hosted_page_url"]
    async with run.testbed.session.get(url) as page:
        shown = await page.text()
    async with run.testbed.session.post(url, data=form, allow_redirects=False) as answer:
        if "<form" not in shown or answer.status != HTTPStatus.SEE_OTHER:
            raise UnexpectedAnswerError(f"the hosted page answered {answer.status}")
        return str(answer.headers["location"])


async def _paid(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    vin, bought = await _opened(run, seller, ana)
    before = await run.payment(bought.payment)

    run.step(ana.name, PAYMENT_GATEWAY, "enters her card on the gateway's hosted page")
    leads_to = await _submitted(run, bought.payment, {"action": "pay", **CARD})
    payment = await run.wait_for_payment(bought.payment, "Capturing")
    order = await run.wait_for_order(bought.order, "factory order placed")

    run.expect("the answer to the dealership", ACCEPTED, bought.status)
    run.expect("the page is at the gateway's address", _host(run.testbed.gateway.url),
                _host(before["hosted_page_url"]))  # fmt: skip
    run.expect("the customer is redirected to", RETURN_URL, leads_to)
    checks.expect_state(run, payment, "Capturing")
    checks.expect_money(run, payment, captured=DEPOSIT)
    run.expect("the order is", "factory order placed", order["state"])
    await checks.expect_vehicle(run, vin, "in production")
    await checks.expect_charges(run, bought.payment, 1)


async def _left(run: ScenarioRun) -> None:
    ana, seller = await fixtures.customer(run, "Ana"), fixtures.dealership(run, "Autos Sol")
    vin, bought = await _opened(run, seller, ana)

    run.step(ana.name, PAYMENT_GATEWAY, "leaves the hosted page without paying")
    await _submitted(run, bought.payment, {"action": "leave"})
    payment = await run.wait_for_payment(bought.payment, "Failed")

    checks.expect_state(run, payment, "Failed")
    run.expect("decline code", "abandoned", payment["decline_code"])
    await checks.expect_vehicle(run, vin, "sin asignar")
    await checks.expect_charges(run, bought.payment, 0)


def _host(url: str) -> str:
    return urlsplit(url).netloc


SCENARIOS: Final = (
    Scenario(
        name="hosted-page",
        title="The customer pays on the gateway's hosted page",
        rule="PCI-DSS Compliance: Payment form security; decision 24",
        text="The reservation starts without a card. The customer enters it on the gateway's own "
        "page, and the platform learns only that the funds are held.",
        expected_end="reserved, no card seen",
        steps=_paid,
    ),
    Scenario(
        name="hosted-page-left",
        title="The customer leaves the hosted page",
        rule="Diagram 9, Pending -> Failed; decision 24",
        text="The customer leaves the page without paying. The gateway reports it, so the payment "
        "fails; the vehicle was never blocked.",
        expected_end="failed, vehicle sin asignar",
        steps=_left,
    ),
)
