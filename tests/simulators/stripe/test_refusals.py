"""What Stripe refuses, the simulated Stripe refuses, with the same status and code."""

import asyncio

import pytest

from caas_simulators.stripe.cards import CARDS
from caas_simulators.stripe.world import StripeSettings
from tests.simulators.stripe.stripe_client import Stripe, stripe_running

BACK = "https://shop.example/back"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"surprise": "1"}, "parameter_unknown"),
        ({"payment_intent_data": {"x": "1"}}, "parameter_unknown"),
        ({"amount": "ten"}, "parameter_invalid_integer"),
        ({"amount": 49}, "amount_too_small"),
        ({"amount": 1499, "currency": "czk"}, "amount_too_small"),
        ({"amount": 100_000_000}, "amount_too_large"),
        ({"description": ""}, "parameter_invalid_empty"),
        ({"customer": "cus_nobody"}, "resource_missing"),
        ({"payment_method": "pm_nobody"}, "resource_missing"),
        ({"confirm": False, "off_session": True}, "parameter_invalid"),
        ({"off_session": True, "setup_future_usage": "off_session"}, "parameter_invalid"),
    ],
)
async def test_a_wrong_parameter_is_refused(
    stripe: Stripe, asked: dict[str, object], code: str
) -> None:
    reply = await stripe.intent(**asked)  # type: ignore[arg-type]

    assert (reply.status, reply.code) == (400, code)


async def test_a_missing_parameter_is_refused(stripe: Stripe) -> None:
    reply = await stripe.post("/v1/payment_intents", currency="eur")

    assert (reply.status, reply.code, reply.body["error"]["param"]) == (
        400, "parameter_missing", "amount",
    )  # fmt: skip


async def test_a_payment_method_without_customer_is_used_once(stripe: Stripe) -> None:
    method = (await stripe.intent()).body["payment_method"]

    again = await stripe.intent(method)

    assert (again.status, again.code) == (400, "payment_method_unexpected_state")
    assert "It may not be used again" in again.body["error"]["message"]


async def test_a_saved_payment_method_needs_its_customer(stripe: Stripe) -> None:
    customer, other = await stripe.customer(), await stripe.customer()
    saved = await stripe.saved(customer)

    assert (await stripe.intent(saved)).status == 400
    assert (await stripe.intent(saved, customer=other)).status == 400
    assert (await stripe.intent(saved, customer=customer)).body["status"] == "requires_capture"
    assert (await stripe.intent(saved, customer=customer)).body["status"] == "requires_capture"


async def test_a_month_end_without_saved_card_is_refused(stripe: Stripe) -> None:
    customer = await stripe.customer()

    fresh = await stripe.intent("pm_card_visa", customer=customer, off_session=True)
    saved = await stripe.saved(customer)
    charged = await stripe.intent(saved, customer=customer, off_session=True)

    assert fresh.status == 400
    assert charged.body["status"] == "requires_capture"


@pytest.mark.parametrize(
    ("token", "outcome"),
    [
        ("pm_card_authenticationRequired", "authentication_required"),
        ("pm_card_authenticationRequiredOnSetup", None),
        ("pm_card_authenticationRequiredSetupForOffSession", None),
    ],
)
async def test_a_bank_may_ask_for_the_cardholder_off_session(
    stripe: Stripe, token: str, outcome: str | None
) -> None:
    customer = await stripe.customer()
    saved = await stripe.saved(customer, token)

    reply = await stripe.intent(saved, customer=customer, off_session=True)

    if outcome is None:
        assert reply.body["status"] == "requires_capture"
    else:
        assert (reply.status, reply.code) == (402, outcome)
        intent = reply.body["error"]["payment_intent"]
        assert intent["status"] == "requires_payment_method"


@pytest.mark.parametrize("card", [card for card in CARDS if card.code and not card.authentication])
async def test_each_declining_card_declines(stripe: Stripe, card: object) -> None:
    tokens, code, decline = card.tokens, card.code, card.decline_code  # type: ignore[attr-defined]

    reply = await stripe.intent(tokens[0])

    error = reply.body["error"]
    assert (reply.status, error["type"]) == (402, "card_error")
    assert (error["code"], error["decline_code"]) == (code, decline)
    assert error["payment_intent"]["last_payment_error"]["decline_code"] == decline


async def test_a_declined_intent_can_still_succeed(stripe: Stripe) -> None:
    declined = (await stripe.intent("pm_card_visa_chargeDeclined")).body["error"]["payment_intent"]

    path = f"/v1/payment_intents/{declined['id']}"
    paid = await stripe.post(f"{path}/confirm", payment_method="pm_card_visa")

    assert paid.body["status"] == "requires_capture"


async def test_a_canceled_intent_cannot_succeed(stripe: Stripe) -> None:
    declined = (await stripe.intent("pm_card_visa_chargeDeclined")).body["error"]["payment_intent"]
    path = f"/v1/payment_intents/{declined['id']}"
    await stripe.post(f"{path}/cancel")

    late = await stripe.post(f"{path}/confirm", payment_method="pm_card_visa")

    assert (late.status, late.code) == (400, "payment_intent_unexpected_state")
    assert late.body["error"]["payment_intent"]["status"] == "canceled"


async def test_a_key_stands_for_one_request(stripe: Stripe) -> None:
    first = await stripe.intent(key="k-1")
    again = await stripe.intent(key="k-1")
    other = await stripe.intent(key="k-1", amount=2000)

    assert again.body["id"] == first.body["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert (other.status, other.body["error"]["type"]) == (400, "idempotency_error")


async def test_a_decline_is_stored_and_a_wrong_parameter_is_not(stripe: Stripe) -> None:
    declined = await stripe.intent("pm_card_visa_chargeDeclined", key="k-1")
    replayed = await stripe.intent("pm_card_visa_chargeDeclined", key="k-1")
    await stripe.intent(key="k-2", amount=1)
    mended = await stripe.intent(key="k-2")

    assert replayed.body == declined.body
    assert mended.status == 200


async def test_a_key_is_forgotten_after_a_day(stripe: Stripe) -> None:
    first = await stripe.intent(key="k-1")
    await stripe.control("advance", seconds=86_401)

    assert (await stripe.intent(key="k-1")).body["id"] != first.body["id"]


async def test_a_stored_500_is_given_again_under_its_key(stripe: Stripe) -> None:
    match = {"operation": "initiate", "times": 1}
    await stripe.control("faults", match=match, action={"store_500_for_key": True})

    statuses = [(await stripe.intent(key="k-1")).status for _ in range(3)]
    fresh = await stripe.intent(key="k-2")

    assert (statuses, fresh.status) == ([500, 500, 500], 200)


async def test_a_hold_expires_after_seven_days(stripe: Stripe) -> None:
    held = (await stripe.intent()).body
    await stripe.control("advance", seconds=7 * 86_400 + 1)

    late = await stripe.post(f"/v1/payment_intents/{held['id']}/capture")
    found = (await stripe.get(f"/v1/payment_intents/{held['id']}")).body

    assert (late.status, late.code) == (400, "payment_intent_unexpected_state")
    assert (found["status"], found["cancellation_reason"]) == ("canceled", "expired")


async def test_no_more_is_captured_or_given_back_than_there_is(stripe: Stripe) -> None:
    held = (await stripe.intent()).body["id"]
    path = f"/v1/payment_intents/{held}"

    too_much = await stripe.post(f"{path}/capture", amount_to_capture=1001)
    early = await stripe.post("/v1/refunds", payment_intent=held)
    await stripe.post(f"{path}/capture", amount_to_capture=1000)
    again = await stripe.post(f"{path}/capture")
    late = await stripe.post(f"{path}/cancel")
    await stripe.post("/v1/refunds", payment_intent=held, amount=700)
    beyond = await stripe.post("/v1/refunds", payment_intent=held, amount=301)
    await stripe.post("/v1/refunds", payment_intent=held)
    nothing = await stripe.post("/v1/refunds", payment_intent=held)

    statuses = [it.status for it in (too_much, early, again, late, beyond, nothing)]
    assert statuses == [400] * 6
    assert nothing.code == "charge_already_refunded"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer sk_test_wrong"}, 401),
        ({"authorization": ""}, 401),
        ({"stripe-version": "2020-01-01"}, 400),
    ],
)
async def test_a_wrong_key_or_version_is_refused(
    stripe: Stripe, headers: dict[str, str], status: int
) -> None:
    stripe.headers = headers

    assert (await stripe.get("/v1/account")).status == status


async def test_too_many_requests_are_refused() -> None:
    async with stripe_running(StripeSettings(seed=1, requests_a_second=5.0)) as stripe:
        replies = await asyncio.gather(*(stripe.get("/v1/account") for _ in range(40)))

    refused = [it for it in replies if it.status == 429]
    assert refused
    assert {it.code for it in refused} == {"rate_limit"}


async def test_what_cannot_be_expanded_is_refused(stripe: Stripe) -> None:
    held = (await stripe.intent()).body["id"]

    reply = await stripe.get(f"/v1/payment_intents/{held}?expand[]=latest_charge.amount")

    assert (reply.status, reply.body["error"]["param"]) == (400, "expand")


async def test_a_card_number_is_not_taken_by_the_api(stripe: Stripe) -> None:
    reply = await stripe.post("/v1/payment_methods", type="card", card={"number": "42"})

    assert reply.status == 402


DECLINED_AT_ONCE = (
    ("pm_card_visa_chargeDeclined", "generic_decline"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
    ("pm_card_visa_chargeDeclinedLostCard", "lost_card"),
    ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card"),
    ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
    ("pm_card_chargeDeclinedExpiredCard", "expired_card"),
    ("pm_card_chargeDeclinedIncorrectCvc", "incorrect_cvc"),
    ("pm_card_chargeDeclinedProcessingError", "processing_error"),
)


@pytest.mark.parametrize(("method", "why"), DECLINED_AT_ONCE)
async def test_a_card_of_the_declines_is_declined_when_it_is_saved(
    stripe: Stripe, method: str, why: str
) -> None:
    """https://docs.stripe.com/testing: none of them can be attached to a Customer."""
    customer = await stripe.customer()
    made = (await stripe.post("/v1/payment_methods", type="card", card={"token": method})).body
    attached = await stripe.post(f"/v1/payment_methods/{made['id']}/attach", customer=customer)
    set_up = await stripe.post(
        "/v1/setup_intents", customer=customer, payment_method=method, confirm="true",
        usage="off_session", payment_method_types=["card"],
    )  # fmt: skip

    for answer in (attached, set_up):
        assert (answer.status, answer.body["error"]["decline_code"]) == (402, why)
    saved = await stripe.get(f"/v1/customers/{customer}/payment_methods")
    assert saved.body["data"] == []


async def test_a_card_that_declines_after_attaching_is_saved_and_never_charged(
    stripe: Stripe,
) -> None:
    customer = await stripe.customer()
    set_up = await stripe.post(
        "/v1/setup_intents", customer=customer, payment_method="pm_card_chargeCustomerFail",
        confirm="true", usage="off_session", payment_method_types=["card"],
    )  # fmt: skip
    charged = await stripe.intent(
        set_up.body["payment_method"], customer=customer, confirm="true", off_session="true"
    )

    assert set_up.body["status"] == "succeeded"
    assert (charged.status, charged.code) == (402, "card_declined")
