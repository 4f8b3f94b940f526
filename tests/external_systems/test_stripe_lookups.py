"""What a lookup at Stripe says of a payment that an intent and a page stand for."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from caas.app import now
from caas.billing_database.identifiers import derived_id, new_id
from caas.external_systems.http import HttpClient, OutcomeUnknownError, Secret
from caas.external_systems.http_answers import HttpAnswer, PartlyDoneError, UnknownReason
from caas.external_systems.payment_gateway import PaymentGateway, TransactionStatus
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from tests.external_systems.stripe_answers import CREATED, REQUEST, captured_charge, intent
from tests.external_systems.stripe_asked import KnownCustomers, reported
from tests.external_systems.test_stripe_whole import BY_PAGE, GOOD, MONTH, asked, looked_up, saved
from tests.external_systems.test_stripe_whole import gateway as gateway  # noqa: PLC0414  # A fixture.
from tests.external_systems.test_stripe_whole import stripe as stripe  # noqa: PLC0414  # A fixture.
from tests.simulators.stripe.stripe_client import KEY, Stripe

S = TransactionStatus
CONFIRMED = "pm_card_authenticationRequired"
SESSIONS = "/v1/checkout/sessions"


SETUP = {"id": "seti_1", "status": "succeeded", "created": CREATED}


def of(*objects: dict[str, object]) -> dict[str, object]:
    """A list that holds these."""
    return {"data": list(objects), "has_more": False}


class Interrupted(HttpClient):
    """A client whose first request for a page is cut."""

    cut = False

    async def send(self, method: str, target: str, **more: Any) -> HttpAnswer:
        if (method, target) == ("POST", SESSIONS) and not self.cut:
            self.cut = True
            raise OutcomeUnknownError(
                partner="stripe", call="POST", reason=UnknownReason.STILL_RUNNING, detail="cut"
            )
        return await super().send(method, target, **more)


async def test_a_month_that_nobody_confirms_is_abandoned_and_no_decline(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    month = asked(MONTH, payment_method=await saved(gateway, stripe, CONFIRMED))
    await gateway.initiate(month, key="m")
    await stripe.control("advance", seconds=86_401)

    over = await looked_up(gateway, month)

    assert (over.status, over.is_page) == (S.VOIDED, True)


class PaidMeanwhile(HttpClient):
    """A client whose customer pays on the page after the first list of a lookup."""

    lists = 0
    pay: Callable[[], Awaitable[object]]

    async def send(self, method: str, target: str, **more: Any) -> HttpAnswer:
        answer = await super().send(method, target, **more)
        if method == "GET" and "customer=" in target:
            self.lists += 1
            if self.lists == 1:
                await self.pay()
        return answer


async def test_a_page_that_is_paid_during_a_lookup_is_not_abandoned(stripe: Stripe) -> None:
    http = PaidMeanwhile(stripe.url, partner="stripe", api_key=Secret(KEY), headers=HEADERS)
    adapter = StripeGateway(http, KnownCustomers(), now=now)
    page = await adapter.initiate(BY_PAGE, key="k")
    assert page.hosted_page_url is not None
    http.pay = partial(stripe.page, page.hosted_page_url, number=GOOD, action="pay")

    paid = await looked_up(adapter, BY_PAGE)

    assert paid.status is S.AUTHORIZED
    assert await adapter.find(page.id) == paid
    await adapter.close()


def session(**facts: object) -> dict[str, object]:
    """A page that agrees with `REQUEST`, but for the facts given."""
    about = {"reference": "pay-1", "amount": "12500", "currency": "EUR"}
    return {
        "id": "cs_1",
        "status": "complete",
        "created": CREATED,
        "metadata": about,
        "payment_intent": None,
    } | facts


def finding(gateway: PaymentGateway) -> Awaitable[object]:
    """Look the payment up by its reference."""
    return gateway.find_by_reference("pay-1", customer_reference="customer-1")


@pytest.mark.parametrize("wrong", [{"amount_total": 1_250_000}, {"currency": "usd"}])
async def test_a_page_that_would_take_another_amount_is_not_believed(
    wrong: dict[str, object],
) -> None:
    """Our own metadata were compared, so a page over 1299.00 was shown for 12.99."""
    by_page = replace(REQUEST, payment_method=None)
    page = {"status": "open", "url": "https://pay.example/c", "amount_total": 12_500,
            "currency": "eur"}  # fmt: skip

    made, _ = await reported(lambda it: it.initiate(by_page, key="k"), session(**page))
    with pytest.raises(OutcomeUnknownError):
        await reported(lambda it: it.initiate(by_page, key="k"), session(**page | wrong))

    assert made.amount == 12_500


async def test_a_complete_page_without_its_intent_shows_nothing() -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(lambda gateway: gateway.find("cs_1"), session())
    with pytest.raises(OutcomeUnknownError):
        await reported(finding, of(session()), of(), of())


@pytest.mark.parametrize(
    "lists",
    [
        (of(session(status="expired", metadata={"reference": "pay-1"})), of(), of()),
        (of(session(status="open", url=None)), of(), of()),
        (of(), of(intent(latest_charge=captured_charge())), of()),
        (of(), of(), of({**SETUP, "metadata": {"reference": "pay-1"}})),
    ],
)
async def test_a_list_that_contradicts_itself_shows_nothing(
    lists: tuple[dict[str, object], ...],
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(finding, *lists)


@pytest.mark.parametrize(
    "pages",
    [
        [of(), *[{"data": [intent(id=f"pi_{at}")], "has_more": True} for at in range(25)]],
        [of(), {"data": [], "has_more": True}],
        [{"data": [session(id="cs_9", metadata={})], "has_more": True} for _ in range(25)],
    ],
)
async def test_a_list_that_was_not_read_to_its_end_is_no_proof_of_absence(
    pages: list[dict[str, object]],
) -> None:
    with pytest.raises(OutcomeUnknownError):
        await reported(finding, *pages)


async def test_a_customer_of_thousands_of_payments_has_each_of_them_found(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    """The lookup of a customer's payment failed once there were more than 2,000 of them."""
    request = asked(REQUEST, reference=str(new_id()))
    held = await gateway.initiate(request, key="k")
    store = stripe.server.world.store
    (template,) = store.some("payment_intent")
    long_ago = template["created"] - 3 * 86_400
    for at in range(2_100):
        store.put(template | {"id": f"pi_old{at}", "created": long_ago, "metadata": {}})

    assert await looked_up(gateway, request) == held
    assert await gateway.find_by_reference(
        str(new_id()), customer_reference=request.customer_reference
    ) == ()  # fmt: skip
    with pytest.raises(OutcomeUnknownError):
        await gateway.find_by_reference(
            str(derived_id("a month")), customer_reference=request.customer_reference
        )


async def test_a_month_whose_page_was_cut_is_repeated_and_no_decline(
    stripe: Stripe,
) -> None:
    customers = KnownCustomers()
    http = Interrupted(stripe.url, partner="stripe", api_key=Secret(KEY), headers=HEADERS)
    cut = StripeGateway(http, customers, now=now)
    month = asked(MONTH, payment_method=await saved(cut, stripe, CONFIRMED))

    with pytest.raises(OutcomeUnknownError):
        await cut.initiate(month, key="m")
    with pytest.raises(PartlyDoneError):
        await cut.find_by_reference(month.reference, customer_reference=month.customer_reference)
    canceled = await stripe.get("/v1/events?type=payment_intent.canceled")
    page = await cut.initiate(month, key="m")

    assert canceled.body["data"] == []
    assert (page.status, page.is_page) == (S.REQUIRES_ACTION, True)
    assert await looked_up(cut, month) == page
    await cut.close()


async def test_what_could_not_be_ended_once_can_be_ended_later(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    page = await gateway.initiate(BY_PAGE, key="k")
    declined = asked(REQUEST, payment_method="pm_card_visa_chargeDeclined")
    fault = {"match": {"operation": "void", "times": 2}, "action": {"store_500_for_key": True}}

    await stripe.control("faults", **fault)
    with pytest.raises(OutcomeUnknownError):
        await gateway.void(page.id, "abandoned", key="k:void")
    with pytest.raises(OutcomeUnknownError):
        await gateway.initiate(declined, key="d")

    assert (await gateway.void(page.id, "abandoned", key="k:void")).status is S.VOIDED
    assert (await gateway.initiate(declined, key="d")).status is S.FAILED
