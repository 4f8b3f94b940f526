"""What a lookup at Stripe says of a payment that an intent and a page stand for."""

from caas.external_systems.payment_gateway import TransactionStatus
from caas.external_systems.stripe_gateway import StripeGateway
from tests.external_systems.test_stripe_whole import MONTH, asked, looked_up, saved
from tests.external_systems.test_stripe_whole import gateway as gateway  # noqa: PLC0414  # A fixture.
from tests.external_systems.test_stripe_whole import stripe as stripe  # noqa: PLC0414  # A fixture.
from tests.simulators.stripe.stripe_client import Stripe

S = TransactionStatus
CONFIRMED = "pm_card_authenticationRequired"


async def test_a_month_that_nobody_confirms_is_abandoned_and_no_decline(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    month = asked(MONTH, payment_method=await saved(gateway, stripe, CONFIRMED))
    await gateway.initiate(month, key="m")
    await stripe.control("advance", seconds=86_401)

    over = await looked_up(gateway, month)

    assert (over.status, over.is_page) == (S.VOIDED, True)
