"""Two gateways may give the same id to different things: an id is an id of one gateway.

A dispute's id was unique over all gateways: the dispute of the second was never recorded. A token
that two gateways had given was one payment method, charged where it was used last.
"""

from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from caas.billing_database import payment_search
from caas.billing_database.connection import Database
from caas.billing_database.payments import Payment
from caas.billing_database.subscriptions import PaymentMethods
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_two_gateways import OTHER_VIN, sold, tells
from tests.two_gateways import CONTRACT, TWIN, TwoGateways, two_gateways


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


async def sold_at_both(at: TwoGateways) -> tuple[Payment, Payment]:
    """Sell a service at each gateway; the transactions have the same id."""
    async with at.installed(CONTRACT) as first:
        await first.car()
        await first.car(OTHER_VIN)
        await first.offer_heated_seats()
        one = await sold(first, "pm_ok")
    async with at.installed(TWIN, CONTRACT) as both:
        other = await sold(both, "pm_ok", OTHER_VIN)
    assert one.gateway_transaction_id == other.gateway_transaction_id
    return one, other


async def disputes(installation: Installation, payment: Payment, state: str) -> None:
    """Report a dispute with the same id, whichever the gateway."""
    body = {
        "type": f"dispute.{state}",
        "data": {"id": "dp_1", "transaction_id": payment.gateway_transaction_id,
                 "reference": str(payment.id), "amount": payment.amount, "currency": "EUR",
                 "status": state, "reason": "fraudulent"},
    }  # fmt: skip
    await tells(installation, payment.gateway, f"evt_{state}", body)


async def test_disputes_with_the_same_id_at_two_gateways_stay_apart(at: TwoGateways) -> None:
    one, other = await sold_at_both(at)
    async with at.installed(TWIN, CONTRACT) as both:
        await disputes(both, one, "opened")
        await disputes(both, other, "opened")
        await disputes(both, other, "lost")
        platform = both.platform
        [first] = (await platform.payment_processing.query_payment_status(one.id)).disputes
        [second] = (await platform.payment_processing.query_payment_status(other.id)).disputes
        found = await payment_search.found_by(both.database, "dp_1")

        assert (first.id, first.state) == ("dp_1", "opened")
        assert (second.id, second.state) == ("dp_1", "lost")
        assert {payment.id for payment in found} == {one.id, other.id}
        assert await platform.tables.cases.listed() == []


async def uses_a_card(first: Installation) -> UUID:
    """Let a new customer buy with a token of the first gateway; return the customer."""
    ana = await first.customer()
    await first.car()
    await first.car(OTHER_VIN)
    await first.offer_heated_seats()
    payment = await first.buys("pm_ok", customer=ana)
    await first.until(payment.id, lambda now: now.state is PaymentState.CAPTURING)
    return ana


async def uses_it_again(at: TwoGateways, both: Installation, ana: UUID) -> None:
    """Let her buy on the second gateway's page, which gives her card the same token."""
    page = await both.buys(None, vin=OTHER_VIN, customer=ana)
    await at.pays(page)
    await both.until(page.id, lambda now: now.state is PaymentState.CAPTURING)


async def test_a_token_of_two_gateways_is_two_payment_methods(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as first:
        ana = await uses_a_card(first)
    async with at.installed(TWIN, CONTRACT) as both:
        await uses_it_again(at, both, ana)
        methods = await PaymentMethods(both.database).used_by(ana)

        assert [(it.token, it.gateway) for it in methods] == [("pm_ok", TWIN), ("pm_ok", CONTRACT)]


async def test_a_method_is_verified_at_the_gateway_that_it_was_chosen_of(at: TwoGateways) -> None:
    async with at.installed(CONTRACT) as first:
        ana = await uses_a_card(first)
    async with at.installed(TWIN, CONTRACT) as both:
        await uses_it_again(at, both, ana)
        await both.platform.service_catalog.put_service(
            code="range-plus", name="Range plus", kind="subscription", currency="EUR",
            monthly_fee=2990,
        )  # fmt: skip

        made = await both.platform.payment_processing.subscribe(
            customer=ana, vin=OTHER_VIN, service="range-plus", payment_method="pm_ok",
            saved_at=CONTRACT, by_fleet=True,
        )  # fmt: skip
        [verifying] = await both.platform.tables.payments.listed(subject=made.id)

        assert (made.gateway, verifying.gateway) == (CONTRACT, CONTRACT)
