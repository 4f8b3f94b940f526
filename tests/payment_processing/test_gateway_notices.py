"""Webhooks that move no payment and mean money: returned payouts and warnings of fraud.

They had no effect; a returned payout waited for the daily list, a warning of Adyen's for nobody.
"""

import hashlib
import json
from collections.abc import AsyncIterator

import pytest

from caas.billing_database.connection import Database
from caas.billing_database.identifiers import derived_id
from caas.billing_database.webhook_inbox import Incoming
from caas.payment_processing.outgoing_money import APPLY_WEBHOOK
from caas.rules.payment_states import PaymentState
from tests.installation import Installation
from tests.payment_processing.test_two_gateways import STRIPE_CARD, sold
from tests.two_gateways import STRIPE, TwoGateways, two_gateways


@pytest.fixture
async def at(database: Database) -> AsyncIterator[TwoGateways]:
    """The gateways, before any payment."""
    async with two_gateways(database) as opened:
        yield opened


async def reported(at: TwoGateways, installation: Installation, kind: str) -> int:
    """Have every event of a kind stored, as the webhook handler does; return how many."""
    reply = await at.stripe.get(f"/v1/events?limit=100&type={kind}")
    for event in reply.body["data"]:
        text = json.dumps(event)
        await installation.platform.tables.webhooks.store(
            Incoming(
                gateway=STRIPE, event_id=event["id"], body=text, job_kind=APPLY_WEBHOOK,
                body_hash=hashlib.sha256(text.encode()).digest(),
            )
        )  # fmt: skip
    await installation.rest()
    return len(reply.body["data"])


async def test_a_returned_payout_is_a_case_as_soon_as_it_is_reported(at: TwoGateways) -> None:
    async with at.installed(STRIPE) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        await sold(installation, STRIPE_CARD)
        await at.settle(STRIPE)
        await at.stripe.control("payout", fails=True)
        [payout] = (await at.stripe.get("/v1/payouts")).body["data"]

        assert await reported(at, installation, "payout.failed") == 1
        assert await reported(at, installation, "payout.created") == 1

        subject = derived_id("payout", STRIPE, payout["id"])
        [case] = await installation.platform.tables.cases.listed(subject=subject)
        assert case.kind == "payout_returned"
        assert payout["id"] in case.sentence


async def test_a_reported_warning_of_fraud_is_the_case_of_a_listed_one(at: TwoGateways) -> None:
    async with at.installed(STRIPE) as installation:
        await installation.car()
        await installation.offer_heated_seats()
        payment = await sold(installation, STRIPE_CARD)
        await at.stripe.control("fraud_warning", payment_intent=payment.gateway_transaction_id)

        assert await reported(at, installation, "radar.early_fraud_warning.created") == 1

        [case] = await installation.platform.tables.cases.listed(subject=payment.id)
        after = await installation.platform.tables.payments.get(payment.id)
        assert case.kind == "fraud_warning"
        assert "made_with_stolen_card" in case.sentence
        assert after.state is PaymentState.CAPTURING
