"""What only our contract has: bank debits, and webhooks that are signed with several secrets."""

from datetime import UTC, datetime

from caas.external_systems.http import Secret
from caas.external_systems.payment_gateway import GatewayTransaction, TransactionStatus
from caas.external_systems.seed_contract_wire import read_event
from caas.external_systems.webhook_signatures import WebhookVerifier
from caas_lab.conformance.gateway_runner import under_test
from caas_lab.conformance.gateway_under_test import a_key, held
from tests.external_systems.conformance.simulated import SECRET, contract_terms

NEW = "whsec_bmV3ZXItbmV3ZXItbmV3ZXItbmV3ZXItbmV3ZXItbmV3ZXI="


async def test_a_bank_debit_is_pending_first() -> None:
    async with contract_terms() as terms, under_test(terms) as it:
        transaction = await it.gateway.initiate(it.request("pm_bank_debit"), key=a_key())

    assert transaction.status is TransactionStatus.PENDING


async def test_each_step_is_told_signed_with_every_secret_and_under_one_id() -> None:
    async with contract_terms(signing=(NEW, SECRET)) as terms, under_test(terms) as it:
        transaction = held(await it.gateway.initiate(it.request(), key=a_key()))
        await it.gateway.capture(transaction.id, transaction.amount, key=a_key())
        webhook = await it.webhooks().wait_for(
            lambda one: read_event(one.body).type == "transaction.capturing", what="the capture"
        )

    event = read_event(webhook.body)
    for secret in (NEW, SECRET):
        verifier = WebhookVerifier([Secret(secret)])
        assert verifier.verify(webhook.body, webhook.headers, now=datetime.now(UTC)).id == event.id
    assert isinstance(event.subject, GatewayTransaction)
    assert event.subject.reference == transaction.reference
