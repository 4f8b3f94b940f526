"""What a lookup at Stripe says of a payment that an intent and a page stand for."""

import pytest

from caas.external_systems.http import HttpClient, OutcomeUnknownError, Secret
from caas.external_systems.http_answers import HttpAnswer, UnknownReason
from caas.external_systems.payment_gateway import TransactionStatus
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.stripe_asked import KnownCustomers
from tests.external_systems.test_stripe_whole import MONTH, asked, looked_up, saved
from tests.external_systems.test_stripe_whole import gateway as gateway  # noqa: PLC0414  # A fixture.
from tests.external_systems.test_stripe_whole import stripe as stripe  # noqa: PLC0414  # A fixture.
from tests.simulators.stripe.stripe_client import KEY, Stripe

S = TransactionStatus
CONFIRMED = "pm_card_authenticationRequired"
SESSIONS = "/v1/checkout/sessions"


class Interrupted(HttpClient):
    """A client whose first request for a page is cut."""

    cut = False

    async def send(
        self, method: str, target: str, *, body: bytes | None = None, key: str | None = None
    ) -> HttpAnswer:
        if (method, target) == ("POST", SESSIONS) and not self.cut:
            self.cut = True
            raise OutcomeUnknownError(
                partner="stripe", call="POST", reason=UnknownReason.STILL_RUNNING, detail="cut"
            )
        return await super().send(method, target, body=body, key=key)


async def test_a_month_that_nobody_confirms_is_abandoned_and_no_decline(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    month = asked(MONTH, payment_method=await saved(gateway, stripe, CONFIRMED))
    await gateway.initiate(month, key="m")
    await stripe.control("advance", seconds=86_401)

    over = await looked_up(gateway, month)

    assert (over.status, over.is_page) == (S.VOIDED, True)


async def test_a_month_whose_page_was_cut_is_repeated_and_no_decline(
    stripe: Stripe,
) -> None:
    customers = KnownCustomers()
    http = Interrupted(stripe.url, partner="stripe", api_key=Secret(KEY), headers=HEADERS)
    cut = StripeGateway(http, customers)
    month = asked(MONTH, payment_method=await saved(cut, stripe, CONFIRMED))

    with pytest.raises(OutcomeUnknownError):
        await cut.initiate(month, key="m")
    absent = await cut.find_by_reference(
        month.reference, customer_reference=month.customer_reference
    )
    canceled = await stripe.get("/v1/events?type=payment_intent.canceled")
    page = await cut.initiate(month, key="m")

    assert (absent, canceled.body["data"]) == ((), [])
    assert (page.status, page.is_page) == (S.REQUIRES_ACTION, True)
    assert await looked_up(cut, month) == page
    await cut.close()
