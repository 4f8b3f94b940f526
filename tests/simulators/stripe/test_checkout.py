"""The hosted page of the simulated Stripe: tried, left, confirmed at the bank, expired."""

import time

import pytest

from caas_simulators.stripe.page_texts import TEXTS
from tests.simulators.stripe.stripe_client import Json, Stripe

PAID, GOOD, BAD, ASKS = "pay", "4242424242424242", "4000000000000002", "4000002760003184"


async def found(stripe: Stripe, session: Json) -> Json:
    """Return the session as it is now, with its intent."""
    path = f"/v1/checkout/sessions/{session['id']}?expand[]=payment_intent"
    return (await stripe.get(path)).body


def test_both_languages_have_the_same_texts() -> None:
    assert TEXTS["en"].keys() == TEXTS["es"].keys()


async def test_an_open_page_has_no_intent_yet(stripe: Stripe) -> None:
    session = await stripe.checkout()

    assert (session["status"], session["payment_intent"]) == ("open", None)
    assert (await stripe.page(session["url"]))[0] == 200


async def test_a_declined_card_leaves_the_page_open(stripe: Stripe) -> None:
    session = await stripe.checkout()

    status, _, text = await stripe.page(session["url"], number=BAD, action=PAID)
    tried = await found(stripe, session)
    _, leads, _ = await stripe.page(session["url"], number=GOOD, action=PAID)
    paid = await found(stripe, session)

    assert (status, "Your card was declined." in text) == (200, True)
    assert (tried["status"], tried["payment_intent"]["status"]) == (
        "open", "requires_payment_method",
    )  # fmt: skip
    assert tried["payment_intent"]["last_payment_error"]["decline_code"] == "generic_decline"
    assert leads == "https://shop.example/back"
    assert (paid["status"], paid["payment_intent"]["status"]) == ("complete", "requires_capture")
    assert paid["payment_intent"]["id"] == tried["payment_intent"]["id"]
    assert paid["payment_intent"]["metadata"] == {"reference": "p-1"}


@pytest.mark.parametrize(("answer", "status"), [("confirm", "complete"), ("reject", "open")])
async def test_the_bank_may_ask_the_cardholder(stripe: Stripe, answer: str, status: str) -> None:
    session = await stripe.checkout()

    _, bank, _ = await stripe.page(session["url"], number=ASKS, action=PAID)
    await stripe.page(stripe.url + bank, action=answer)

    assert (await found(stripe, session))["status"] == status


async def test_a_page_that_is_left_stays_open(stripe: Stripe) -> None:
    session = await stripe.checkout()

    _, leads, _ = await stripe.page(session["url"], action="leave")

    assert leads == "https://shop.example/left"
    assert (await found(stripe, session))["status"] == "open"


async def test_a_page_expires_with_its_intent(stripe: Stripe) -> None:
    session = await stripe.checkout()
    await stripe.page(session["url"], number=BAD, action=PAID)
    await stripe.control("advance", seconds=86_401)

    over = await found(stripe, session)
    status, _, _ = await stripe.page(session["url"], number=GOOD, action=PAID)

    assert (over["status"], over["url"]) == ("expired", None)
    assert over["payment_intent"]["status"] == "canceled"
    assert status == 410


async def test_only_the_page_ends_an_intent_of_an_open_page(stripe: Stripe) -> None:
    session = await stripe.checkout()
    await stripe.page(session["url"], number=BAD, action=PAID)
    intent = (await found(stripe, session))["payment_intent"]["id"]

    refused = await stripe.post(f"/v1/payment_intents/{intent}/cancel")
    ended = await stripe.post(f"/v1/checkout/sessions/{session['id']}/expire")
    again = await stripe.post(f"/v1/checkout/sessions/{session['id']}/expire")

    assert (refused.status, ended.body["status"], again.status) == (400, "expired", 400)
    assert (await found(stripe, session))["payment_intent"]["status"] == "canceled"


async def test_a_page_is_open_for_half_an_hour_to_a_day(stripe: Stripe) -> None:
    price = {"currency": "eur", "unit_amount": 1000, "product_data": {"name": "x"}}
    asked: Json = {"mode": "payment", "success_url": "https://shop.example/",
                   "line_items": [{"quantity": 1, "price_data": price}]}  # fmt: skip

    for seconds in (60, 2 * 86_400):
        expires = int(time.time()) + seconds
        reply = await stripe.post("/v1/checkout/sessions", expires_at=expires, **asked)
        assert (reply.status, reply.body["error"]["param"]) == (400, "expires_at")


async def test_a_card_is_saved_without_a_charge(stripe: Stripe) -> None:
    customer = await stripe.customer()
    reply = await stripe.post(
        "/v1/checkout/sessions", mode="setup", customer=customer, payment_method_types=["card"],
        success_url="https://shop.example/back",
    )  # fmt: skip

    await stripe.page(reply.body["url"], number=GOOD, action=PAID)
    methods = (await stripe.get(f"/v1/customers/{customer}/payment_methods")).body["data"]
    charged = (await stripe.get("/v1/charges")).body["data"]

    assert [one["customer"] for one in methods] == [customer]
    assert charged == []
