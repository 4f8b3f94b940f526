"""The Stripe adapter against a Stripe that refuses what Stripe refuses."""

import csv
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from msgspec.structs import replace

from caas.app import now
from caas.external_systems.gateway_adapters import GatewayContext, adapter
from caas.external_systems.http import HttpClient, RefusedByPartnerError, Secret
from caas.external_systems.payment_gateway import (
    ChargeTerms,
    GatewayHint,
    GatewayTransaction,
    Initiator,
    ReportStatus,
    TransactionRequest,
    TransactionStatus,
)
from caas.external_systems.stripe_gateway import HEADERS, StripeGateway
from caas.external_systems.stripe_webhooks import EVENTS, read_event
from caas.rules.payment_failures import AMOUNT_REFUSALS
from caas.setting_values import SettingError
from tests.external_systems.stripe_answers import REQUEST
from tests.external_systems.stripe_asked import KnownCustomers, NothingReported
from tests.simulators.stripe.stripe_client import KEY, Stripe, stripe_running
from tests.start_up.conftest import Machine
from tests.start_up.conftest import machine as machine  # noqa: PLC0414  # A fixture.

S = TransactionStatus
BY_PAGE = replace(REQUEST, payment_method=None)
MONTH = replace(REQUEST, return_url=None, terms=ChargeTerms(initiator=Initiator.MERCHANT))
MANDATE = replace(REQUEST, amount=100, terms=ChargeTerms(saves_method=True))
CONFIRMED = "pm_card_authenticationRequired"
GOOD, BAD = "4242424242424242", "4000000000000002"


@pytest.fixture
async def stripe() -> AsyncIterator[Stripe]:
    """A simulated account."""
    async with stripe_running() as one:
        yield one


@pytest.fixture
async def gateway(stripe: Stripe) -> AsyncIterator[StripeGateway]:
    """The adapter, let in."""
    http = HttpClient(stripe.url, partner="stripe", api_key=Secret(KEY), headers=HEADERS)
    adapter = StripeGateway(http, KnownCustomers(), now=now, return_url="https://caas.example/")
    yield adapter
    await adapter.close()


def asked(request: TransactionRequest, **more: Any) -> TransactionRequest:
    """The request of another payment of the same customer."""
    return replace(request, **({"reference": str(uuid4())} | more))


async def looked_up(gateway: StripeGateway, request: TransactionRequest) -> GatewayTransaction:
    """The only transaction of a payment."""
    (found,) = await gateway.find_by_reference(
        request.reference, customer_reference=request.customer_reference
    )
    return found


async def events(stripe: Stripe, kind: str) -> list[bytes]:
    """What webhooks of a kind would carry."""
    reply = await stripe.get(f"/v1/events?limit=100&type={kind}")
    return [_encoded(one) for one in reply.body["data"]]


def _encoded(value: object) -> bytes:
    return msgspec.json.encode(value)


async def saved(gateway: StripeGateway, stripe: Stripe, token: str) -> str:
    """The method that a mandate has saved."""
    request = asked(MANDATE, payment_method=token)
    made = await gateway.initiate(request, key=request.reference)
    if made.hosted_page_url is not None:
        await stripe.page(made.hosted_page_url, action="confirm")
        made = await looked_up(gateway, request)
    assert made.status is S.AUTHORIZED
    assert made.payment_method is not None
    return made.payment_method


async def test_funds_are_held_captured_and_given_back(gateway: StripeGateway) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    captured = await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    refund = await gateway.refund(held.id, 500, "desistimiento", key="k:refund")
    found = await gateway.find(held.id)

    assert (held.status, captured.status) == (S.AUTHORIZED, S.CAPTURING)
    assert await gateway.find_refunds(held.id) == (refund,)
    assert found is not None
    assert found.refunded_amount == 500


async def test_captured_money_is_settled_when_it_is_available(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    await stripe.control("settle")

    found = await gateway.find(held.id)

    assert found is not None
    assert (found.status, found.settled_amount) == (S.SETTLED, REQUEST.amount)


async def test_a_customer_pays_on_a_page(gateway: StripeGateway, stripe: Stripe) -> None:
    page = await gateway.initiate(BY_PAGE, key="k")
    again = await gateway.initiate(BY_PAGE, key="k")
    waiting = await looked_up(gateway, BY_PAGE)
    assert page.hosted_page_url is not None
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")
    paid = await looked_up(gateway, BY_PAGE)
    captured = await gateway.capture(paid.id, BY_PAGE.amount, key="k:capture")

    assert (page.status, page.is_page, again) == (S.REQUIRES_ACTION, True, page)
    assert waiting == page
    assert (paid.status, paid.is_page, paid.id[:3]) == (S.AUTHORIZED, False, "pi_")
    assert captured.status is S.CAPTURING


async def test_a_declined_card_on_an_open_page_is_no_failure(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    page = await gateway.initiate(BY_PAGE, key="k")
    assert page.hosted_page_url is not None
    await stripe.page(page.hosted_page_url, number=BAD, action="pay")
    tried = await looked_up(gateway, BY_PAGE)
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")

    assert tried == page
    assert (await looked_up(gateway, BY_PAGE)).status is S.AUTHORIZED
    (failed,) = await events(stripe, "payment_intent.payment_failed")
    event = read_event(failed)
    assert event is not None
    assert event.subject == GatewayHint(reference=BY_PAGE.reference)


async def test_the_final_payment_ends_at_the_first_decline(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    request = replace(BY_PAGE, terms=ChargeTerms(single_attempt=True))
    page = await gateway.initiate(request, key="k")
    assert page.hosted_page_url is not None
    await stripe.page(page.hosted_page_url, number=BAD, action="pay")

    failed = await looked_up(gateway, request)
    status, _, _ = await stripe.page(page.hosted_page_url, number=GOOD, action="pay")

    assert (failed.status, failed.decline_code) == (S.FAILED, "generic_decline")
    assert status == 410
    assert (await looked_up(gateway, request)).status is S.FAILED


async def test_an_error_at_the_bank_does_not_end_the_only_attempt(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    request = replace(BY_PAGE, terms=ChargeTerms(single_attempt=True))
    page = await gateway.initiate(request, key="k")
    assert page.hosted_page_url is not None
    await stripe.control("decline", decline_code="issuer_not_available")
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")

    failed_once = await looked_up(gateway, request)
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")

    assert (failed_once.status, failed_once.is_page) == (S.REQUIRES_ACTION, True)
    assert (await looked_up(gateway, request)).status is S.AUTHORIZED


async def test_a_page_that_nobody_pays_is_over_after_a_day(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    await gateway.initiate(BY_PAGE, key="k")
    await stripe.control("advance", seconds=86_401)

    over = await looked_up(gateway, BY_PAGE)

    assert (over.status, over.is_page) == (S.VOIDED, True)


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error"),
        ("pm_card_radarBlock", "fraudulent"),
        ("pm_card_visa_chargeDeclinedVelocityLimitExceeded", "card_velocity_exceeded"),
    ],
)
async def test_a_decline_fails_by_its_state_and_cannot_succeed_later(
    gateway: StripeGateway, stripe: Stripe, token: str, code: str
) -> None:
    request = asked(REQUEST, payment_method=token)
    failed = await gateway.initiate(request, key="k")
    late = await stripe.post(
        f"/v1/payment_intents/{failed.id}/confirm", payment_method="pm_card_visa"
    )

    assert failed.status is S.FAILED
    assert failed.decline_code == code
    assert late.status == 400
    assert await gateway.find(failed.id) == failed


@pytest.mark.parametrize("how", [BY_PAGE, REQUEST])
@pytest.mark.parametrize(
    ("amount", "currency", "refusal"),
    [
        (49, "EUR", "amount_too_small"),
        (29, "GBP", "amount_too_small"),
        (100_000_000, "EUR", "amount_too_large"),
    ],
)
async def test_an_amount_that_stripe_never_charges_is_refused_as_such(
    gateway: StripeGateway, how: TransactionRequest, amount: int, currency: str, refusal: str
) -> None:
    request = asked(how, amount=amount, currency=currency)

    with pytest.raises(RefusedByPartnerError) as refused:
        await gateway.initiate(request, key="k")

    assert refused.value.refusal == refusal
    assert refusal in AMOUNT_REFUSALS


@pytest.mark.parametrize(("amount", "currency"), [(4990, "CLP"), (17_500, "HUF"), (50, "SGD")])
async def test_a_currency_in_its_own_units_is_charged(
    gateway: StripeGateway, amount: int, currency: str
) -> None:
    """A peso has no decimals there either."""
    held = await gateway.initiate(asked(REQUEST, amount=amount, currency=currency), key="k")

    assert (held.status, held.amount, held.currency) == (S.AUTHORIZED, amount, currency)


async def test_a_month_is_charged_on_a_saved_card(gateway: StripeGateway, stripe: Stripe) -> None:
    method = await saved(gateway, stripe, "pm_card_visa")

    months = [asked(MONTH, payment_method=method) for _ in range(2)]
    charged = [await gateway.initiate(it, key=it.reference) for it in months]

    assert [it.status for it in charged] == [S.AUTHORIZED, S.AUTHORIZED]


async def test_a_mandate_holds_nothing_and_its_void_ends_it_but_keeps_the_card(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    made = await gateway.initiate(MANDATE, key="k")
    voided = await gateway.void(made.id, "payment method verified", key="k:void")
    again = await gateway.void(made.id, "payment method verified", key="k:void:2")

    assert (await stripe.get("/v1/charges")).body["data"] == []
    assert (made.status, voided.status, again) == (S.AUTHORIZED, S.VOIDED, voided)
    assert await looked_up(gateway, MANDATE) == await gateway.find(made.id) == voided
    month = asked(MONTH, payment_method=made.payment_method)
    assert (await gateway.initiate(month, key="m")).status is S.AUTHORIZED


async def test_a_mandate_is_given_on_a_page(gateway: StripeGateway, stripe: Stripe) -> None:
    request = replace(MANDATE, payment_method=None)
    page = await gateway.initiate(request, key="k")
    assert page.hosted_page_url is not None
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")
    given = await looked_up(gateway, request)
    month = asked(MONTH, payment_method=given.payment_method)

    assert given.status is S.AUTHORIZED
    assert (await gateway.initiate(month, key="m")).status is S.AUTHORIZED


async def cards_of(gateway: StripeGateway, stripe: Stripe) -> list[str]:
    """The cards that are saved for the customer of `REQUEST`."""
    customer = await gateway._customers.find(REQUEST.customer_reference)
    saved_cards = await stripe.get(f"/v1/customers/{customer}/payment_methods")
    return [one["id"] for one in saved_cards.body["data"]]


async def test_a_one_time_payment_saves_no_card_and_a_mandate_asks_for_it(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    """Each card that somebody paid with was saved, and nobody had asked for that."""
    page = await gateway.initiate(BY_PAGE, key="k")
    assert page.hosted_page_url is not None
    await stripe.page(page.hosted_page_url, number=GOOD, action="pay")
    await gateway.initiate(asked(REQUEST), key="direct")
    used = (await looked_up(gateway, BY_PAGE)).payment_method
    none = await cards_of(gateway, stripe)

    mandate = asked(MANDATE, payment_method=used)
    again = await gateway.initiate(mandate, key="m")
    assert again.hosted_page_url is not None
    await stripe.page(again.hosted_page_url, number=GOOD, action="pay")
    given = await looked_up(gateway, mandate)

    assert none == []
    assert await cards_of(gateway, stripe) == [given.payment_method]
    month = asked(MONTH, payment_method=given.payment_method)
    assert (await gateway.initiate(month, key="month")).status is S.AUTHORIZED


async def test_a_customer_is_erased_with_the_saved_cards_and_only_once(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    await saved(gateway, stripe, "pm_card_visa")
    customer = await gateway._customers.find(REQUEST.customer_reference)
    held = await gateway.initiate(asked(REQUEST), key="k")

    for _ in range(2):
        await gateway.erase_customer(REQUEST.customer_reference)
    await gateway.erase_customer("a customer who never paid")

    assert (await stripe.get(f"/v1/customers/{customer}")).status == 404
    assert await cards_of(gateway, stripe) == []
    assert await gateway.find(held.id) == held


@pytest.mark.parametrize(("answer", "status"), [("confirm", S.AUTHORIZED), ("reject", S.FAILED)])
async def test_a_month_that_wants_the_cardholder_has_a_page(
    gateway: StripeGateway, stripe: Stripe, answer: str, status: TransactionStatus
) -> None:
    method = await saved(gateway, stripe, "pm_card_authenticationRequired")
    month = asked(MONTH, payment_method=method)

    page = await gateway.initiate(month, key="m")
    again = await gateway.initiate(month, key="m")
    assert page.hosted_page_url is not None
    _, bank, _ = await stripe.page(page.hosted_page_url, saved=method, action="pay")
    await stripe.page(stripe.url + bank, action=answer)
    after = await looked_up(gateway, month)
    await stripe.control("advance", seconds=86_401)

    assert (page.status, page.is_page, again) == (S.REQUIRES_ACTION, True, page)
    assert after.status is (status if answer == "confirm" else S.REQUIRES_ACTION)
    if answer == "reject":
        assert (await looked_up(gateway, month)).status is status


async def test_a_month_on_a_card_that_is_no_longer_saved_has_a_page(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    method = await saved(gateway, stripe, "pm_card_visa")
    await stripe.post(f"/v1/payment_methods/{method}/detach")

    page = await gateway.initiate(asked(MONTH, payment_method=method), key="m")

    assert (page.status, page.is_page) == (S.REQUIRES_ACTION, True)


async def test_what_was_cut_is_found_by_its_reference(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await stripe.control("foreign")

    assert await looked_up(gateway, REQUEST) == held
    assert await gateway.find_by_reference(
        "another", customer_reference=REQUEST.customer_reference
    ) == ()  # fmt: skip


@pytest.mark.parametrize("status", ["warning_needs_response", "prevented"])
async def test_what_takes_no_money_is_no_chargeback(
    gateway: StripeGateway, stripe: Stripe, status: str
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    await stripe.control("dispute", payment_intent=held.id, status=status)

    (created,) = await events(stripe, "charge.dispute.created")

    assert read_event(created) is None


async def test_an_inquiry_that_becomes_a_chargeback_is_one(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    for status in ("warning_needs_response", "needs_response"):
        await stripe.control("dispute", payment_intent=held.id, status=status)

    (updated,) = await events(stripe, "charge.dispute.updated")
    event = read_event(updated)

    assert event is not None
    assert event.type == "dispute.opened"


async def test_a_days_report_has_every_movement_of_the_account(
    gateway: StripeGateway, stripe: Stripe, tmp_path: Path
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    await gateway.refund(held.id, 500, "desistimiento", key="k:refund")
    day = datetime.fromtimestamp(stripe.server.world.store.now(), UTC).date()
    await stripe.control("advance", seconds=2 * 86_400)

    file = await gateway.settlement_file(day, tmp_path / "day.csv")
    with (tmp_path / "day.csv").open(encoding="utf-8") as content:
        rows = [
            (it["reporting_category"], it["gross"], it["payment_metadata[reference]"])
            for it in csv.DictReader(content)
        ]

    assert file.status is ReportStatus.CLOSED
    assert rows == [("charge", "125.00", "pay-1"), ("refund", "-5.00", "pay-1")]


async def test_a_payout_is_listed_with_every_movement_in_it(
    gateway: StripeGateway, stripe: Stripe
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    await gateway.refund(held.id, 500, "desistimiento", key="k:refund")
    await stripe.control("advance", seconds=3 * 86_400)
    day = datetime.fromtimestamp(stripe.server.world.store.now(), UTC).date()
    rows = (await stripe.get("/v1/balance_transactions")).body["data"]

    await stripe.control("payout")
    (payout,) = await gateway.payouts(day)

    assert (payout.currency, payout.is_returned, payout.created_on) == ("EUR", False, day)
    assert payout.movements == {row["id"]: row["net"] for row in rows}
    assert payout.amount == sum(payout.movements.values()) > 0
    assert await gateway.payouts(day - timedelta(days=1)) == ()


async def test_a_payout_that_the_bank_returns_is_listed_as_returned_and_is_no_line(
    gateway: StripeGateway, stripe: Stripe, tmp_path: Path
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    await stripe.control("settle")
    day = datetime.fromtimestamp(stripe.server.world.store.now(), UTC).date()

    await stripe.control("payout", fails=True)
    (payout,) = await gateway.payouts(day)
    await stripe.control("advance", seconds=2 * 86_400)
    await gateway.settlement_file(day, tmp_path / "day.csv")

    assert (payout.is_returned, payout.movements) == (True, None)
    assert (tmp_path / "day.csv").read_text("utf-8").count("\n") == 2


@pytest.mark.parametrize("refunded", [True, False])
async def test_an_early_fraud_warning_is_listed_while_something_can_be_done(
    gateway: StripeGateway,
    stripe: Stripe,
    refunded: bool,  # noqa: FBT001 - a case
) -> None:
    held = await gateway.initiate(REQUEST, key="k")
    await gateway.capture(held.id, REQUEST.amount, key="k:capture")
    if refunded:
        await gateway.refund(held.id, REQUEST.amount, "goodwill", key="k:refund")
    since = now() - timedelta(hours=1)
    await stripe.control("fraud_warning", payment_intent=held.id, fraud_type="a_new_type")

    listed = await gateway.fraud_warnings(since)
    later = await gateway.fraud_warnings(now() + timedelta(hours=1))

    assert [(it.transaction_id, it.reason) for it in listed] == (
        [] if refunded else [(held.id, "other")]
    )
    assert later == ()


async def test_fraud_warnings_can_be_ignored(stripe: Stripe) -> None:
    environment = {
        "CAAS_GATEWAY_URL": stripe.url,
        "CAAS_GATEWAY_API_KEY": KEY,
        "CAAS_GATEWAY_WEBHOOK_SECRETS": "whsec_x",
    }
    context = GatewayContext(
        customers=KnownCustomers(), reported=NothingReported(), return_url="x", now=now
    )
    listed: list[int] = []
    for policy in ("", "ignore"):
        configured = adapter("stripe").configure(
            {**environment, "CAAS_STRIPE_FRAUD_WARNINGS": policy}
        )
        connected = configured.connect(context)
        assert isinstance(connected, StripeGateway)
        if not listed:
            held = await connected.initiate(REQUEST, key="k")
            await stripe.control("fraud_warning", payment_intent=held.id)
        listed.append(len(await connected.fraud_warnings(now() - timedelta(hours=1))))
        await connected.close()

    assert listed == [1, 0]
    with pytest.raises(SettingError, match="use case or ignore"):
        adapter("stripe").configure({**environment, "CAAS_STRIPE_FRAUD_WARNINGS": "refund"})


async def test_the_command_makes_an_endpoint_for_what_is_read(
    stripe: Stripe, machine: Machine
) -> None:
    settings = {"CAAS_GATEWAY_API_KEY": KEY, "CAAS_GATEWAY_URL": stripe.url}
    program = await machine.starts("webhook-endpoint", "https://caas.example/", **settings)
    ended = await program.ended()
    (made,) = (await stripe.get("/v1/webhook_endpoints")).body["data"]

    assert ended.status == 0, ended
    assert "CAAS_GATEWAY_WEBHOOK_SECRETS=whsec_" in ended.out
    assert made["url"] == "https://caas.example/webhooks/gateway/stripe"
    assert made["api_version"] == HEADERS["Stripe-Version"]
    assert set(made["enabled_events"]) == set(EVENTS)


async def test_the_command_needs_a_key(machine: Machine) -> None:
    ended = await (await machine.starts("webhook-endpoint", "https://caas.example")).ended()

    assert "Set CAAS_GATEWAY_API_KEY" in ended.err


async def test_the_account_and_its_mode_are_named(gateway: StripeGateway) -> None:
    assert await gateway.account() == "acct_1CaaSSimulated000/test"


@pytest.mark.parametrize(("waited", "status"), [(23, S.REQUIRES_ACTION), (25, S.VOIDED)])
async def test_a_confirmation_that_the_cardholder_abandoned_ends_like_a_page(
    stripe: Stripe, waited: int, status: TransactionStatus
) -> None:
    """Stripe lets such an intent wait for ever: the payment stayed Pending and held its vehicle."""
    http = HttpClient(stripe.url, partner="stripe", api_key=Secret(KEY), headers=HEADERS)
    later = timedelta()
    gateway = StripeGateway(
        http, KnownCustomers(), return_url="https://caas.example/",
        now=lambda: now() + later,
    )  # fmt: skip
    request = replace(REQUEST, payment_method=CONFIRMED)
    waiting = await gateway.initiate(request, key="k")
    assert (waiting.status, waiting.is_page) == (S.REQUIRES_ACTION, False)

    later = timedelta(hours=waited)
    found = await gateway.find(waiting.id)
    listed = await looked_up(gateway, request)

    assert found is not None
    assert (found.status, listed.status) == (status, status)
    if status is S.VOIDED:
        at_stripe = await stripe.get(f"/v1/payment_intents/{waiting.id}")
        assert at_stripe.body["status"] == "canceled"
    await gateway.close()
