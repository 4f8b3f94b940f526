"""What the simulated Stripe answers, against the types and the client that Stripe publishes."""

import importlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import stripe as official

from caas_simulators.stripe.calls import CALLS
from tests.simulators.stripe.published_types import differences, parameters
from tests.simulators.stripe.stripe_client import KEY, Stripe

KINDS = {
    "payment_intent": ("_payment_intent", "PaymentIntent"),
    "setup_intent": ("_setup_intent", "SetupIntent"),
    "charge": ("_charge", "Charge"),
    "refund": ("_refund", "Refund"),
    "customer": ("_customer", "Customer"),
    "payment_method": ("_payment_method", "PaymentMethod"),
    "balance_transaction": ("_balance_transaction", "BalanceTransaction"),
    "dispute": ("_dispute", "Dispute"),
    "event": ("_event", "Event"),
    "webhook_endpoint": ("_webhook_endpoint", "WebhookEndpoint"),
    "checkout.session": ("checkout._session", "Session"),
    "reporting.report_run": ("reporting._report_run", "ReportRun"),
    "file": ("_file", "File"),
    "payout": ("_payout", "Payout"),
    "radar.early_fraud_warning": ("radar._early_fraud_warning", "EarlyFraudWarning"),
}
FORMS = {
    ("POST", "/v1/payment_intents"): ("_payment_intent", "PaymentIntent.CreateParams"),
    ("POST", "/v1/payment_intents/:/confirm"): ("_payment_intent", "PaymentIntent.ConfirmParams"),
    ("POST", "/v1/payment_intents/:/capture"): ("_payment_intent", "PaymentIntent.CaptureParams"),
    ("POST", "/v1/payment_intents/:/cancel"): ("_payment_intent", "PaymentIntent.CancelParams"),
    ("GET", "/v1/payment_intents"): ("_payment_intent", "PaymentIntent.ListParams"),
    ("POST", "/v1/setup_intents"): ("_setup_intent", "SetupIntent.CreateParams"),
    ("POST", "/v1/checkout/sessions"): ("checkout._session", "Session.CreateParams"),
    ("GET", "/v1/checkout/sessions"): ("checkout._session", "Session.ListParams"),
    ("POST", "/v1/customers"): ("_customer", "Customer.CreateParams"),
    ("POST", "/v1/refunds"): ("_refund", "Refund.CreateParams"),
    ("POST", "/v1/disputes/:"): ("_dispute", "Dispute.ModifyParams"),
    ("GET", "/v1/radar/early_fraud_warnings"): (
        "radar._early_fraud_warning",
        "EarlyFraudWarning.ListParams",
    ),
    ("GET", "/v1/payouts"): ("_payout", "Payout.ListParams"),
    ("GET", "/v1/balance_transactions"): ("_balance_transaction", "BalanceTransaction.ListParams"),
    ("POST", "/v1/webhook_endpoints"): ("_webhook_endpoint", "WebhookEndpoint.CreateParams"),
}


async def lived(stripe: Stripe) -> None:
    """Let there be an object of each kind, in several states."""
    customer = await stripe.customer()
    saved = await stripe.saved(customer)
    held = (await stripe.intent(saved, customer=customer, off_session=True)).body
    await stripe.post(f"/v1/payment_intents/{held['id']}/capture")
    await stripe.post("/v1/refunds", payment_intent=held["id"], amount=300)
    await stripe.control("fraud_warning", payment_intent=held["id"])
    disputed = await stripe.control("dispute", payment_intent=held["id"], status="needs_response")
    await stripe.post(f"/v1/disputes/{disputed['id']}", evidence={"uncategorized_text": "On."})
    await stripe.intent("pm_card_visa_chargeDeclined")
    await stripe.intent("pm_card_authenticationRequired", return_url="https://shop.example/back")
    voided = (await stripe.intent()).body["id"]
    await stripe.post(f"/v1/payment_intents/{voided}/cancel")
    session = await stripe.checkout(customer=customer)
    await stripe.page(session["url"], number="4000000000000002", action="pay")
    await stripe.page(session["url"], number="4242424242424242", action="pay")
    await stripe.post("/v1/webhook_endpoints", url="http://127.0.0.1:9/", enabled_events=["x"])
    await stripe.control("advance", seconds=86_400)
    await stripe.control("payout", fails=True)
    end = stripe.server.world.store.now() // 43_200 * 43_200
    run = await stripe.post(
        "/v1/reporting/report_runs", report_type="balance_change_from_activity.itemized.3",
        parameters={"interval_start": end - 86_400 * 2, "interval_end": end},
    )  # fmt: skip
    for _ in range(2):
        await stripe.get(f"/v1/reporting/report_runs/{run.body['id']}")


async def test_every_object_is_as_published(stripe: Stripe) -> None:
    await lived(stripe)
    found, seen = set(), set()
    for kind, (module, name) in KINDS.items():
        for one in (await _ledger(stripe, kind))["data"]:
            seen.add(kind)
            source = importlib.import_module(f"stripe.{module}")
            found |= set(differences(source, name, one))

    assert seen == set(KINDS)
    assert found == set()


async def _ledger(stripe: Stripe, kind: str) -> dict[str, Any]:
    async with stripe.session.get(f"{stripe.url}/_control/ledger?kind={kind}") as answer:
        reported: dict[str, Any] = await answer.json()
        return reported


@pytest.mark.parametrize(("call", "published"), FORMS.items())
def test_no_parameter_is_served_that_stripe_does_not_have(
    call: tuple[str, str], published: tuple[str, str]
) -> None:
    source = importlib.import_module(f"stripe.{published[0]}")
    names = parameters(source, published[1].rpartition(".")[2])

    assert list(_unpublished(CALLS[call].form, names, "")) == []


def _unpublished(form: Any, published: Any, path: str) -> list[str]:
    if isinstance(form, list):
        return _unpublished(form[0], published, path)
    if not isinstance(form, dict) or published is None:
        return []
    found = []
    for marked, kind in form.items():
        name = marked.removesuffix("!")
        if name not in published:
            found.append(f"{path}[{name}]")
        else:
            found += _unpublished(kind, published[name], f"{path}[{name}]")
    return found


@pytest.fixture
async def client(stripe: Stripe) -> AsyncIterator[official.StripeClient]:
    """Stripe's own client, led to the simulator."""
    http = official.AIOHTTPClient()
    yield official.StripeClient(KEY, base_addresses={"api": stripe.url}, http_client=http)
    await http.close_async()  # type: ignore[no-untyped-call]


async def test_the_official_client_holds_captures_and_refunds(
    client: official.StripeClient,
) -> None:
    held = await client.payment_intents.create_async(
        {
            "amount": 1000, "currency": "eur", "capture_method": "manual", "confirm": True,
            "payment_method": "pm_card_visa", "payment_method_types": ["card"],
            "expand": ["latest_charge.balance_transaction"],
        }
    )  # fmt: skip
    taken = await client.payment_intents.capture_async(held.id, {"amount_to_capture": 1000})
    refund = await client.refunds.create_async({"payment_intent": held.id})

    assert (held.status, taken.status, refund.status) == (
        "requires_capture", "succeeded", "succeeded",
    )  # fmt: skip
    assert isinstance(held.latest_charge, official.Charge)


async def test_the_official_client_reads_a_decline(client: official.StripeClient) -> None:
    with pytest.raises(official.CardError) as raised:
        await client.payment_intents.create_async(
            {
                "amount": 1000, "currency": "eur", "confirm": True,
                "payment_method": "pm_card_chargeDeclinedProcessingError",
                "payment_method_types": ["card"],
            }
        )  # fmt: skip

    error = raised.value.error
    assert error is not None
    assert (error.code, error.decline_code) == ("processing_error", "processing_error")
    assert error.payment_intent is not None
    assert error.payment_intent.status == "requires_payment_method"


async def test_the_official_client_opens_a_page_and_lists_a_customers_payments(
    client: official.StripeClient, stripe: Stripe
) -> None:
    customer = await client.customers.create_async({"metadata": {"reference": "c-1"}})
    session = await client.checkout.sessions.create_async(
        {
            "mode": "payment", "customer": customer.id, "success_url": "https://shop.example/ok",
            "line_items": [
                {"quantity": 1, "price_data": {"currency": "eur", "unit_amount": 1000,
                                               "product_data": {"name": "Deposit"}}}
            ],
        }
    )  # fmt: skip
    assert session.url is not None
    await stripe.page(session.url, number="4242 4242 4242 4242", action="pay")
    listed = await client.payment_intents.list_async({"customer": customer.id})

    assert [one.status for one in listed.data] == ["succeeded"]
